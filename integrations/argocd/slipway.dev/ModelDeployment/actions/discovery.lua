local state = ""
local reason = ""
local stable = nil
if obj.status ~= nil then
  stable = obj.status.stable
  if obj.status.rollout ~= nil then
    state = obj.status.rollout.state or ""
    reason = obj.status.rollout.reason or ""
  end
end
local stepping = state == "Shifting" or state == "Baking" or state == "Paused"
local under_way = stepping or state == "Preparing" or state == "Preflight" or state == "Promoting" or state == "Watching"
local paused = obj.spec.rollout ~= nil and obj.spec.rollout.paused == true
-- Pauses that only the end of their cause ends.
local by_cause = {Paused = true, GatewayNotReady = true, RouteContested = true, CapacityLimited = true}
local actions = {}
actions["promote"] = {["disabled"] = not stepping}
actions["approve"] = {["disabled"] = not (state == "Paused" and not by_cause[reason])}
actions["abort"] = {["disabled"] = not (under_way and stable ~= nil)}
actions["retry"] = {["disabled"] = state ~= "Failed"}
actions["pause"] = {["disabled"] = obj.spec.rollout == nil or paused}
actions["resume"] = {["disabled"] = not paused}
return actions
