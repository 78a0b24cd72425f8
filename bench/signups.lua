-- Makes wrk do what bench/load.py does: each client sends its next signup when the previous one is answered, and
-- at the end it waits for all responses.
--
--     wrk -t1 -cCLIENTS -dPATIENCE -s bench/signups.lua URL -- REQUEST CLIENTS SECONDS
--
-- The last line printed is an Answers as JSON. Times are taken here, because wrk adds imagined slow responses to
-- its own percentiles (to correct "coordinated omission").

local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds, nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
  int getpid(void);
  int kill(int process, int signal);
]])
local MONOTONIC, SIGINT = 1, 2 -- as Linux numbers them
local NUMBER, DIGITS = ("%d"):rep(9) .. "@", 9 -- in an address, which every 201 repeats

local template, clients, over
local sent = -1 -- wrk makes one request more at the start, to look at it
local answered, resting = 0, 0
local began, ended = 0, 0
local asked, seconds, statuses = {}, {}, {}

local clock = ffi.new("moment")

local function now()
  ffi.C.clock_gettime(MONOTONIC, clock)
  return tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
end

local function json()
  local counts = {}
  for status, count in pairs(statuses) do
    counts[#counts + 1] = ('"%d": %d'):format(status, count)
  end
  return ('{"began": %f, "ended": %f, "broken": %d, "statuses": {%s}, "seconds": [%s]}'):format(
    began, ended, sent - answered, table.concat(counts, ","), table.concat(seconds, ",")
  )
end

local function rest()
  resting = resting + 1
  if resting == clients then
    answers = json() -- global, since `done` is called in another state
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), SIGINT) -- or wrk would wait until -d is over
  end
  return "\r\n" -- wrk has to send something, and HTTP ignores an empty line before a request
end

function setup(thread)
  only_thread = thread
end

function init(arguments)
  template, clients = arguments[1], tonumber(arguments[2])
  began = now()
  over = began + tonumber(arguments[3])
end

function request()
  local moment = now()
  if moment >= over then
    return rest()
  end
  sent = sent + 1
  asked[sent] = moment
  return template:format(sent)
end

function response(status, _, body)
  ended = now()
  answered = answered + 1
  statuses[status] = (statuses[status] or 0) + 1
  if status == 201 then
    local at = body:find(NUMBER)
    seconds[#seconds + 1] = ended - asked[tonumber(body:sub(at, at + DIGITS - 1))]
  end
end

function done()
  print(only_thread:get("answers") or error("Not every signup was answered."))
end
