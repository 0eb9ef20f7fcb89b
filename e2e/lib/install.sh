# The chart, and the namespaces that it looks after. Sourced, never run.

NAMESPACES=()

# make_namespaces SCENARIO...: one for each, made anew. They take only pods of Kubernetes' strictest profile: the injected
# sidecar must be one.
make_namespaces() {
  local name namespace
  for name in "$@"; do NAMESPACES+=("$(namespace_of "$name")"); done
  kubectl delete namespace "${NAMESPACES[@]}" --ignore-not-found --wait=false >/dev/null
  for namespace in "${NAMESPACES[@]}"; do make_namespace "$namespace"; done
}

make_namespace() {
  kubectl delete namespace "$1" --ignore-not-found --timeout=120s >/dev/null
  kubectl create namespace "$1" >/dev/null
  kubectl label namespace "$1" pod-security.kubernetes.io/enforce=restricted >/dev/null
}

# install_chart [HELM ARGUMENTS...]: installs or changes the release, for those of the namespaces that there are.
install_chart() {
  local watched; watched=$(kubectl get namespaces "${NAMESPACES[@]}" --ignore-not-found -o json | jq -r '[(.items // [.])[].metadata.name] | join(",")')
  helm upgrade --install rockstar "$REPO_DIR/charts/rockstar" --namespace "$SYSTEM" --create-namespace \
    --values "$E2E_DIR/manifests/values.yaml" --set "sidecar.insecureRegistries={$REGISTRY,$PRIVATE_REGISTRY}" \
    --set "watch.namespaces={$watched}" --set "podAnnotations.image=$(docker inspect -f '{{.Id}}' rockstar-operator:e2e)" \
    --wait --timeout 3m "$@" || return
  kubectl get crd "plugins.$API" "pluginhosts.$API" -o name
  within 60 2 system get deployment -l app.kubernetes.io/name=rockstar -o jsonpath='{.items[*].status.readyReplicas}'
}
