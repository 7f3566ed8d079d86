// What runs on the server. A script is atomic towards everybody, and what it wrote is in
// the append-only file as a whole or not at all. Where a script ends in an error midway,
// what it wrote stays: so it writes meta last, and without that nothing counts.

package redisstore

import "github.com/redis/go-redis/v9"

// Errors that the scripts reply.
const (
	replySchema = "TRSCHEMA" // followed by the schema of the data
	replyOrphan = "TRORPHAN" // followed by a stream's key, which has no meta
	replyMoved  = "TRMOVED"  // the place is not in the history any more
)

// prelude reads meta, or makes it in an empty store. KEYS are meta and all streams;
// ARGV[1] is the epoch of a store that is made. restore removes what stands behind the
// last entry of a stream and makes its number the stream's last one.
const prelude = `
local function read()
	local m = {}
	local flat = redis.call('HGETALL', KEYS[1])
	for i = 1, #flat, 2 do m[flat[i]] = flat[i + 1] end
	if m.schema == '` + schema + `' then return m end
	if #flat > 0 then return m, redis.error_reply('` + replySchema + ` ' .. (m.schema or 'none')) end
	for i = 2, #KEYS do
		if redis.call('EXISTS', KEYS[i]) == 1 then return m, redis.error_reply('` + replyOrphan + ` ' .. KEYS[i]) end
	end
	redis.call('HSET', KEYS[1], 'schema', '` + schema + `', 'epoch', ARGV[1], 'seq', '0')
	return {schema = '` + schema + `', epoch = ARGV[1], seq = '0'}
end
local removed = {}
local function restore(key, head)
	local found = false
	while true do
		local tail = redis.call('XREVRANGE', key, '+', '(' .. head .. '-0', 'COUNT', 100)
		if #tail == 0 then break end
		found = true
		for _, entry in ipairs(tail) do
			redis.call('XDEL', key, entry[1])
			if #removed < 20 then removed[#removed + 1] = key .. ' ' .. entry[1] end
		end
	end
	return found
end
local function reset(key, head)
	if redis.call('EXISTS', key) == 1 then redis.call('XSETID', key, head .. '-0') end
end
`

// readScript returns meta and, for each class, the chain of the entry with the number that
// ARGV has for it from ARGV[3] on, and up to ARGV[2] entries behind that.
var readScript = redis.NewScript(prelude + `
local m, err = read()
if err then return err end
local flat = {}
for name, value in pairs(m) do
	flat[#flat + 1] = name
	flat[#flat + 1] = value
end
local out = {flat}
for i = 2, #KEYS do
	local id, chain, entries = ARGV[i + 1], '', {}
	if id ~= '0' then
		local at = redis.call('XRANGE', KEYS[i], id .. '-0', id .. '-0')[1]
		if at then chain = at[2][4] or '' end
	end
	if ARGV[2] ~= '0' then
		entries = redis.call('XRANGE', KEYS[i], '(' .. id .. '-0', '+', 'COUNT', ARGV[2])
	end
	out[#out + 1] = chain
	out[#out + 1] = entries
end
return out
`)

// appendScript adds entries: ARGV has a class, counted from 1, and a payload for each. It
// returns what it removed.
var appendScript = redis.NewScript(prelude + `
local m, err = read()
if err then return err end
local seq = tonumber(m.seq)
local fields, touched = {}, {}
for i = 2, #ARGV, 2 do
	local class = ARGV[i]
	local key = KEYS[1 + tonumber(class)]
	local head = m['id.' .. class] or '0'
	if not touched[class] then
		touched[class] = true
		fields[#fields + 1] = class
		if restore(key, head) then reset(key, head) end
	end
	seq = seq + 1
	local id = string.format('%.0f', seq)
	local chain = string.sub(redis.sha1hex((m['chain.' .. class] or '') .. ':' .. id .. ':' .. ARGV[i + 1]), 1, 16)
	local added = redis.pcall('XADD', key, id .. '-0', 'v', ARGV[i + 1], 'c', chain)
	if type(added) == 'table' and added.err then
		-- Entries of others were there, and went: the stream's last number is theirs.
		if not string.find(added.err, 'equal or smaller', 1, true) and not string.find(added.err, 'exhausted', 1, true) then return added end
		reset(key, head)
		redis.call('XADD', key, id .. '-0', 'v', ARGV[i + 1], 'c', chain)
	end
	m['id.' .. class], m['chain.' .. class] = id, chain
end
local set = {'seq', string.format('%.0f', seq)}
for _, class in ipairs(fields) do
	set[#set + 1] = 'id.' .. class
	set[#set + 1] = m['id.' .. class]
	set[#set + 1] = 'chain.' .. class
	set[#set + 1] = m['chain.' .. class]
end
redis.call('HSET', KEYS[1], unpack(set))
return removed
`)

// cleanScript removes what stands behind the last entries. It returns that.
var cleanScript = redis.NewScript(prelude + `
local m, err = read()
if err then return err end
for i = 2, #KEYS do
	local head = m['id.' .. (i - 1)] or '0'
	if restore(KEYS[i], head) then reset(KEYS[i], head) end
end
return removed
`)

// noteBeat notes what a node says: KEYS[1] is the nodes' hash, ARGV a node's id, the number
// of its beat, what it says, and nodes to forget, each with the number of its last beat. It
// returns the time in seconds and microseconds, and what all nodes say that are remembered.
const noteBeat = `
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
for i = 4, #ARGV, 2 do
	local last = redis.call('HGET', KEYS[1], ARGV[i])
	if last and string.match(last, '^%d+ (%d+) ') == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
local out = redis.call('HGETALL', KEYS[1])
table.insert(out, 1, t[2])
table.insert(out, 1, t[1])
return out
`

// beatScriptWhenFull notes a beat also when the server's memory is full, which servers from
// 7.0 on can. A node whose beats aren't noted must not answer: who waits for the nodes that
// may accept a token doesn't know of it. What nodes say takes some hundred bytes for each.
var (
	beatScriptWhenFull = redis.NewScript("#!lua flags=allow-oom\n" + noteBeat)
	beatScript         = redis.NewScript(noteBeat)
)

// chainsScript returns the chains of entries: KEYS are the streams, ARGV has a stream's
// number and an entry's for each.
var chainsScript = redis.NewScript(`
local out = {}
for i = 1, #ARGV, 2 do
	local id = ARGV[i + 1] .. '-0'
	local at = redis.call('XRANGE', KEYS[tonumber(ARGV[i])], id, id)[1]
	out[#out + 1] = at and at[2][4] or ''
end
return out
`)

// trimScript removes entries from the front of a class: ARGV has the epoch, the class, and
// the number and chain of the last entry to go. KEYS are meta and the stream. Whoever has
// trimmed meanwhile was told the same by the same entries.
var trimScript = redis.NewScript(`
local class, id = ARGV[2], ARGV[3]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return redis.error_reply('` + replyMoved + ` epoch') end
local last = redis.call('XRANGE', KEYS[2], id .. '-0', id .. '-0')[1]
if not last then return 0 end
local fields = last[2]
if fields[3] ~= 'c' or fields[4] ~= ARGV[4] then return redis.error_reply('` + replyMoved + ` entry') end
local n = redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', tonumber(id) + 1) .. '-0')
redis.call('HSET', KEYS[1], 'base.' .. class, id, 'basechain.' .. class, ARGV[4])
return n
`)
