-- Asks for paths of a list in turn, with a Range at a random offset if one is wanted; prints what happened as JSON.
-- wrk … -- FILE [SIZE LENGTH]: paths, one per line; the size of what they stand for, and the length of a range.

local paths, size, length = {}, nil, nil

function init(arguments)
  for line in io.lines(arguments[1]) do paths[#paths + 1] = line end
  size, length = tonumber(arguments[2]), tonumber(arguments[3])
end

local count = 0

function request()
  count = count + 1
  local headers = {}
  if length then
    local start = math.random(0, size - length)
    headers["Range"] = "bytes=" .. start .. "-" .. (start + length - 1)
  end
  return wrk.format("GET", paths[count % #paths + 1], headers)
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"requests": %d, "seconds": %f, "bytes": %d, "failed": %d, "median_ms": %f, "p99_ms": %f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, failed,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
