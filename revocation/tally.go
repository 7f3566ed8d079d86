package revocation

// tally counts the live records of each actor, so that limits on what one may
// record hold across restarts. Records are counted by the time they expire in
// steps of ten minutes: one counts for at most that much longer than it lives.
// Its List's lock guards it.
type tally struct {
	actors map[string]*actorTally
}

type actorTally struct {
	live   int
	ending map[uint32]int // step in which they expire → records
}

const tallyStep = 600 // seconds

func newTally() *tally { return &tally{actors: map[string]*actorTally{}} }

func (t *tally) add(actor string, expires uint32) {
	a := t.actors[actor]
	if a == nil {
		a = &actorTally{ending: map[uint32]int{}}
		t.actors[actor] = a
	}
	a.live++
	a.ending[expires/tallyStep]++
}

func (t *tally) live(actor string) int {
	if a := t.actors[actor]; a != nil {
		return a.live
	}
	return 0
}

// prune forgets the records that expired before the given second.
func (t *tally) prune(now uint32) {
	for actor, a := range t.actors {
		for step, n := range a.ending {
			if uint64(step+1)*tallyStep <= uint64(now) {
				a.live -= n
				delete(a.ending, step)
			}
		}
		if a.live == 0 {
			delete(t.actors, actor)
		}
	}
}
