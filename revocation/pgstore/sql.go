// All that is said to the server.

package pgstore

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// version is that of the tables and of what is in them. A change of either needs a new one.
const version = "1"

// Schema returns the SQL that makes the tables in a schema, for whoever makes them by hand:
// see Options.NoCreate. It changes nothing where they are already.
func Schema(schema string) string {
	if schema == "" {
		schema = DefaultSchema
	}
	return expand(schema, `CREATE SCHEMA IF NOT EXISTS {schema};
`+createTables)
}

const createTables = `CREATE TABLE IF NOT EXISTS {schema}.meta (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	version integer NOT NULL,
	epoch uuid NOT NULL DEFAULT gen_random_uuid(),
	pruned bigint NOT NULL DEFAULT 0,
	pruned_tag bigint NOT NULL DEFAULT 0
);
CREATE SEQUENCE IF NOT EXISTS {schema}.numbers;
CREATE TABLE IF NOT EXISTS {schema}.records (
	number bigint PRIMARY KEY,
	tag bigint NOT NULL,
	expires timestamptz NOT NULL,
	payload bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS records_expires ON {schema}.records (expires);
CREATE TABLE IF NOT EXISTS {schema}.nodes (
	id text PRIMARY KEY,
	number numeric(20) NOT NULL,
	at timestamptz NOT NULL,
	said text NOT NULL
) WITH (fillfactor = 50);
` + createEpoch

const createEpoch = `INSERT INTO {schema}.meta (version) VALUES ({version}) ON CONFLICT DO NOTHING;
`

// statements are those that a store needs, with the names of its tables.
type statements struct {
	look, createSchema, createTables, createEpoch, advance string

	append, read, note, head, prune string
}

func newStatements(schema string) statements {
	var s statements
	for to, text := range map[*string]string{
		&s.look: look, &s.createSchema: `CREATE SCHEMA {schema}`, &s.createTables: createTables, &s.createEpoch: createEpoch,
		&s.advance: `SELECT setval('{literal}.numbers', max(number)) FROM {schema}.records HAVING max(number) > 0`,
		&s.append:  appendRecords, &s.read: readRecords, &s.note: noteBeat, &s.head: readHead, &s.prune: pruneRecords,
	} {
		*to = expand(schema, text)
	}
	return s
}

func expand(schema, text string) string {
	name := pgx.Identifier{schema}.Sanitize()
	literal := strings.ReplaceAll(name, "'", "''")
	return strings.NewReplacer("{schema}", name, "{literal}", literal, "{version}", version).Replace(text)
}

// look tells what there is: the schema, which of the tables, and one that a crash empties.
const look = `SELECT to_regnamespace('{literal}') IS NOT NULL,
	to_regclass('{literal}.meta') IS NOT NULL,
	to_regclass('{literal}.records') IS NOT NULL AND to_regclass('{literal}.numbers') IS NOT NULL,
	to_regclass('{literal}.nodes') IS NOT NULL,
	COALESCE((SELECT relname::text FROM pg_class
		WHERE oid IN (to_regclass('{literal}.meta'), to_regclass('{literal}.records'), to_regclass('{literal}.nodes')) AND relpersistence <> 'p'
		LIMIT 1), '')`

// appendRecords adds records: $1 is their tag, $2 and $3 their expiries and payloads, $4
// the channel. The row in meta is locked before the first number is taken. A sequence that
// was set back adds nothing: nodes would take its numbers for those that they have.
//
// Nobody looks for the last record before what was removed: while a transaction is open
// elsewhere, the server has to pass over everything there that it can't clean up.
const appendRecords = `WITH m AS MATERIALIZED (
	SELECT GREATEST((SELECT max(r.number) FROM {schema}.records r WHERE r.number > m.pruned), m.pruned) AS last
	FROM {schema}.meta m WHERE m.version = {version} FOR NO KEY UPDATE OF m
), added AS (
	INSERT INTO {schema}.records (number, tag, expires, payload)
	SELECT nextval('{literal}.numbers'), $1::bigint, r.expires, r.payload
	FROM (
		SELECT u.expires, u.payload
		FROM m CROSS JOIN unnest($2::timestamptz[], $3::bytea[]) WITH ORDINALITY u (expires, payload, place)
		WHERE (SELECT last_value FROM {schema}.numbers) >= m.last
		ORDER BY u.place
	) r
	RETURNING number
)
SELECT count(*), current_setting('fsync'), current_setting('synchronous_commit'),
	pg_notify($4::text, ''), EXISTS (SELECT FROM m)
FROM added`

// history names what positions are in. It fails on a standby.
const history = `m.epoch::text || '.' || (SELECT system_identifier FROM pg_control_system()) || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8)`

// cut is the end of the store, and what stands at the number $1.
const cut = `m.version, ` + history + `, m.pruned, m.pruned_tag, COALESCE(h.number, 0), COALESCE(h.tag, 0), COALESCE(c.tag, 0)`

const cutFrom = `FROM {schema}.meta m
LEFT JOIN LATERAL (SELECT number, tag FROM {schema}.records WHERE number > m.pruned ORDER BY number DESC LIMIT 1) h ON true
LEFT JOIN LATERAL (SELECT tag FROM {schema}.records WHERE number = $1::bigint) c ON true`

// readRecords takes a cut, and up to $2 records behind $1 with it.
const readRecords = `SELECT ` + cut + `, d.numbers, d.tags, d.payloads
` + cutFrom + `
CROSS JOIN LATERAL (
	SELECT COALESCE(array_agg(number ORDER BY number), '{}') AS numbers,
		COALESCE(array_agg(tag ORDER BY number), '{}') AS tags,
		COALESCE(array_agg(payload ORDER BY number), '{}') AS payloads
	FROM (SELECT number, tag, payload FROM {schema}.records WHERE number > $1::bigint ORDER BY number LIMIT $2::bigint) page
) d`

// noteBeat notes what a node says: $1 is its id, $2 the number of its beat, $3 what it says,
// $4 and $5 nodes to forget and the numbers of their last beats. Two nodes that forget the
// same ones don't wait for each other. A beat that was given up on may come after later ones,
// and changes nothing then.
const noteBeat = `WITH silent AS MATERIALIZED (
	SELECT n.id FROM {schema}.nodes n JOIN unnest($4::text[], $5::text[]) f (id, number) ON n.id = f.id AND n.number = f.number::numeric
	WHERE n.id <> $1::text
	FOR UPDATE OF n SKIP LOCKED
), gone AS (
	DELETE FROM {schema}.nodes n USING silent WHERE n.id = silent.id
)
INSERT INTO {schema}.nodes AS n (id, number, at, said)
SELECT $1::text, $2::text::numeric, clock_timestamp(), $3::text FROM {schema}.meta WHERE version = {version}
ON CONFLICT (id) DO UPDATE SET number = excluded.number, at = excluded.at, said = excluded.said WHERE n.number <= excluded.number`

// readHead takes a cut, and what all nodes said with it, with what stands at the number in
// each one's position.
const readHead = `SELECT ` + cut + `, clock_timestamp(), n.ids, n.numbers, n.times, n.said, n.tags,
	current_setting('fsync'), current_setting('synchronous_commit')
` + cutFrom + `
CROSS JOIN LATERAL (
	SELECT COALESCE(array_agg(id ORDER BY id), '{}') AS ids, COALESCE(array_agg(number::text ORDER BY id), '{}') AS numbers,
		COALESCE(array_agg(at ORDER BY id), '{}') AS times, COALESCE(array_agg(said ORDER BY id), '{}') AS said,
		COALESCE(array_agg(COALESCE((
			SELECT tag FROM {schema}.records r WHERE r.number = CASE WHEN place ~ '^[0-9]{1,18}$' THEN place::bigint END
		), 0) ORDER BY id), '{}') AS tags
	FROM (SELECT id, number, at, said, split_part(split_part(said, '"applied":"', 2), '.', 4) AS place FROM {schema}.nodes) beats
) n`

// pruneRecords removes up to $2 records that expired before $1, and notes the last number
// that is gone: nodes that were at it must not take it for lost.
const pruneRecords = `WITH old AS MATERIALIZED (
	SELECT number FROM {schema}.records
	WHERE expires < $1::timestamptz AND EXISTS (SELECT FROM {schema}.meta WHERE version = {version})
	ORDER BY expires LIMIT $2::bigint
	FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM {schema}.records r USING old WHERE r.number = old.number RETURNING r.number, r.tag
), last AS MATERIALIZED (
	SELECT number, tag FROM gone ORDER BY number DESC LIMIT 1
), noted AS (
	UPDATE {schema}.meta m SET pruned = last.number, pruned_tag = last.tag FROM last WHERE last.number > m.pruned
)
SELECT count(*) FROM gone`
