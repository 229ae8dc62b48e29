-- Given: wrk's wish for a request. Gives: one with a path that no other has. Refuses to know: which connection takes it.

local number = 0

function request()
  number = number + 1
  return wrk.format("GET", "/v1/wrk/" .. number)
end
