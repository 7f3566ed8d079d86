// Package bench compares the check with other ways to do the same, side by
// side: run
//
//	go test -bench . -count 6 -cpu 1,2 | tee new.txt && benchstat -col /way new.txt
//
// It is a module of its own, so that what it compares with stays out of the
// product's go.mod.
package bench
