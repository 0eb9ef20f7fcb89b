# An OCI registry beside the cluster, plain http, with one address for this machine, the node and the pods. Sourced, never run.

REGISTRY_NAME=$CLUSTER-registry

registry_up() {
  local image=registry:2
  if ! docker_hub_answers; then
    image=rockstar-e2e/registry:$DEBIAN
    image_cached $image registry.tar.gz build_registry "$image"
  fi
  [ "$(docker inspect -f '{{.State.Running}}' "$REGISTRY_NAME" 2>/dev/null)" = true ] || registry_start "$image"
  wait_until 30 curl -fsS -m 2 "http://$(registry_address)/v2/" || die "the registry does not answer; see: docker logs $REGISTRY_NAME"
}

registry_start() {
  say "starting the registry"
  docker rm -f "$REGISTRY_NAME" >/dev/null 2>&1 || true
  docker run -d --name "$REGISTRY_NAME" --network kind "$1" >/dev/null
}

registry_address() { echo "$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$REGISTRY_NAME"):5000"; }

registry_down() { docker rm -f "$REGISTRY_NAME" >/dev/null 2>&1 || true; }

# Debian packages the same registry.
build_registry() {
  local dir; dir=$(mktemp -d)
  base_image_up
  packages docker-registry
  say "making $1 from Debian's docker-registry"
  cp /usr/bin/docker-registry "$dir/"
  cat >"$dir/config.yml" <<'YAML'
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
YAML
  cat >"$dir/Dockerfile" <<DOCKERFILE
FROM $BASE_IMAGE
COPY docker-registry /usr/bin/
COPY config.yml /etc/
ENTRYPOINT ["/usr/bin/docker-registry", "serve", "/etc/config.yml"]
DOCKERFILE
  DOCKER_BUILDKIT=0 quietly registry-image docker build -t "$1" "$dir"
  rm -rf "$dir"
}
