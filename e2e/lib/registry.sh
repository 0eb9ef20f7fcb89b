# Two OCI registries beside the cluster, plain http, each with one address for this machine, the node and the pods. The second
# one wants to know who asks: plugins, with the password plugins. Sourced, never run.

REGISTRY_NAME=$CLUSTER-registry
PRIVATE_REGISTRY_NAME=$CLUSTER-private-registry
PRIVATE_REGISTRY_USERS='plugins:$2b$05$abcdefghijklmnopqrstuuldw6F6GilTdYugv7T3JoalKax2e4pZS'

registry_up() {
  local image=registry:2
  if ! docker_hub_answers; then
    image=rockstar-e2e/registry:$DEBIAN
    image_cached $image registry.tar.gz build_registry "$image"
  fi
  registry_runs "$REGISTRY_NAME" || registry_start "$image"
  registry_runs "$PRIVATE_REGISTRY_NAME" || private_registry_start "$image"
  wait_until 30 curl -fsS -m 2 "http://$(registry_address)/v2/" || die "the registry does not answer; see: docker logs $REGISTRY_NAME"
  wait_until 30 curl -fsS -m 2 -u plugins:plugins "http://$(private_registry_address)/v2/" ||
    die "the registry does not answer; see: docker logs $PRIVATE_REGISTRY_NAME"
}

registry_runs() { [ "$(docker inspect -f '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; }

registry_start() {
  say "starting the registry"
  docker rm -f "$REGISTRY_NAME" >/dev/null 2>&1 || true
  docker run -d --name "$REGISTRY_NAME" --network kind "$1" >/dev/null
}

private_registry_start() {
  docker rm -f "$PRIVATE_REGISTRY_NAME" >/dev/null 2>&1 || true
  docker create --name "$PRIVATE_REGISTRY_NAME" --network kind -e REGISTRY_AUTH=htpasswd -e REGISTRY_AUTH_HTPASSWD_REALM=plugins \
    -e REGISTRY_AUTH_HTPASSWD_PATH=/users "$1" >/dev/null
  local users; users=$(mktemp)
  echo "$PRIVATE_REGISTRY_USERS" >"$users"
  chmod 644 "$users"
  docker cp -q "$users" "$PRIVATE_REGISTRY_NAME:/users"
  rm "$users"
  docker start "$PRIVATE_REGISTRY_NAME" >/dev/null
}

address_of() { docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$1"; }
registry_address() { echo "$(address_of "$REGISTRY_NAME"):5000"; }
private_registry_address() { echo "$(address_of "$PRIVATE_REGISTRY_NAME"):5000"; }

registry_down() { docker rm -f "$REGISTRY_NAME" "$PRIVATE_REGISTRY_NAME" >/dev/null 2>&1 || true; }

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
