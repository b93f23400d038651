-- Asks Keyway about a request. http-request lua.keyway sets txn.keyway: "200", with
-- the identity headers set on the request; "signin" for a page that somebody wants who
-- is not signed in; "401", with txn.challenge; "403"; or "error", when nobody knows.

local verify = "http://127.0.0.1:8000/auth/verify"
local timeout = 5000 -- ms

-- What Keyway decides by. Nothing else is its business.
local asked = {
  "cookie", "authorization", "user-agent", "origin", "x-csrf-token", "upgrade",
  "sec-fetch-site", "sec-websocket-key", "sec-websocket-version",
  "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
  "x-http-method", "x-http-method-override", "x-method-override",
}
local identity = { "x-user-id", "x-user-email", "x-user-name", "x-session-id", "x-auth-time", "x-original-user" }

-- A browser that navigates to a page can be led to the sign-in; nothing else can.
local function page(method, sent)
  local mode, accept = sent["sec-fetch-mode"], sent["accept"]
  if method ~= "GET" and method ~= "HEAD" then return false end
  if mode then return mode[0] == "navigate" and not mode[1] end
  return accept ~= nil and accept[0]:lower():find("text/html", 1, true) ~= nil
end

core.register_action("keyway", { "http-req" }, function(txn)
  txn:set_var("txn.keyway", "error")
  local sent, ask = txn.http:req_get_headers(), {}
  for _, name in ipairs(asked) do
    if sent[name] then
      ask[name] = {}
      for i = 0, #sent[name] do -- counted from 0
        table.insert(ask[name], sent[name][i])
      end
    end
  end
  local method = txn.f:method()
  ask["x-original-method"] = { method }
  ask["x-original-uri"] = { txn.f:pathq() }

  local answer = core.httpclient():get { url = verify, headers = ask, timeout = timeout }
  if not answer then return end
  if answer.status == 200 then
    for _, name in ipairs(identity) do
      local values = answer.headers[name]
      if values and values[0] and not values[1] then
        txn.http:req_set_header(name, values[0])
      end
    end
    txn:set_var("txn.keyway", "200")
  elseif answer.status == 401 then
    local challenge = answer.headers["www-authenticate"]
    challenge = challenge and challenge[0] or 'Session realm="bff"'
    txn:set_var("txn.challenge", challenge)
    local signin = challenge:find("^Session") and page(method, sent)
    txn:set_var("txn.keyway", signin and "signin" or "401")
  elseif answer.status == 403 then
    txn:set_var("txn.keyway", "403")
  end
end, 0)
