local os = require("os")
local about = nil
if obj.status ~= nil then
  about = obj.status.candidate or obj.status.stable
end
if about == nil then
  error("the operator has not told of any revision yet")
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
-- The time makes it count once: the same text again is no new action.
obj.metadata.annotations["slipway.dev/rollout-action"] = "abort @" .. about.hash .. " #" .. tostring(os.time())
return obj
