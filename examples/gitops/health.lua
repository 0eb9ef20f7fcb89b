-- The health of a Plugin or a PluginHost in Argo CD. argocd-cm.yaml has it under the key of each kind.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local function health(code)
  return {status = code, message = conditions.Ready.message}
end

if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "is being deleted"}
end
if conditions.Ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this generation yet"}
end
if holds("Stalled") then
  return health("Degraded")
end
-- Waits for spec.paused, rollout.paused or rollout.partition.
if conditions.Ready.reason == "Paused" then
  return health("Suspended")
end
if holds("Ready") and not holds("Reconciling") then
  return health("Healthy")
end
return health("Progressing")
