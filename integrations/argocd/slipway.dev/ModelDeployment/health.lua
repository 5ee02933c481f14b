local hs = {status = "Progressing", message = "Waiting for the operator"}
if obj.status == nil or obj.status.observedGeneration == nil or obj.status.phase == nil then
  return hs
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for the operator to see this spec"
  return hs
end
local of = {
  Healthy = "Healthy",
  Paused = "Suspended",
  Suspended = "Suspended",
  RollingBack = "Suspended",
  Degraded = "Degraded",
  Failed = "Degraded",
}
hs.status = of[obj.status.phase] or "Progressing"
hs.message = obj.status.message or ""
return hs
