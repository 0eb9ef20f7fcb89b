# The Docker engine: the one that runs, or one of our own that `down` ends again. Sourced, never run.

DOCKERD_PID=$STATE/dockerd.pid
RUNC_WITHIN_LIMITS=$CACHE/bin/runc-within-limits

engine_runs() { timeout 10 docker info >/dev/null 2>&1; }

# Some build machines give root less than everything. runc fails outright on a capability that cannot be granted.
can_grant_sys_resource() {
  local effective
  effective=$(awk '/^CapEff/ {print $2}' /proc/self/status)
  (((16#$effective >> 24) & 1))
}

engine_up() {
  have docker && engine_runs && return
  [ "$(id -u)" = 0 ] || die "no Docker engine answers; start one, or run as root so that one can be started here"
  packages docker.io runc jq iptables
  local args=(--pidfile "$DOCKERD_PID")
  if ! can_grant_sys_resource; then
    install -m755 "$E2E_DIR/lib/runc-within-limits" "$RUNC_WITHIN_LIMITS"
    args+=(--add-runtime "limited=$RUNC_WITHIN_LIMITS" --default-runtime limited)
  fi
  say "starting dockerd"
  mkdir -p "$CACHE/log"
  engine_forget_stale_pid
  PATH=$ENGINE_PATH setsid dockerd "${args[@]}" >"$CACHE/log/dockerd.log" 2>&1 9>&- </dev/null &
  wait_until 60 engine_runs && return
  tail -n 20 "$CACHE/log/dockerd.log" >&2
  die "dockerd did not answer within 60 s; its log is $CACHE/log/dockerd.log"
}

# The pid of the dockerd that we started, if it still is one.
engine_own_pid() {
  local pid
  pid=$(cat "$DOCKERD_PID" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid"
}

engine_forget_stale_pid() { engine_own_pid >/dev/null || rm -f "$DOCKERD_PID"; }

engine_down() {
  local pid
  pid=$(engine_own_pid) || return 0
  say "ending the dockerd that was started here"
  kill "$pid"
  wait_until 30 gone "$pid" || kill -9 "$pid"
  rm -f "$DOCKERD_PID"
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# image_cached NAME FILE BUILD...: an image from the engine, else from its saved archive, else built and saved.
image_cached() {
  local name=$1 file=$CACHE/images/$2; shift 2
  docker image inspect "$name" >/dev/null 2>&1 && return
  if [ -f "$file" ]; then
    say "loading $name"
    docker load -q -i "$file" >/dev/null && return
  fi
  "$@"
  mkdir -p "$CACHE/images"
  docker save "$name" | gzip -1 >"$file.new" && mv "$file.new" "$file"
}

# Image registries may be out of reach where package registries are not.
docker_hub_answers() {
  [ "$(curl -sS -m 5 -o /dev/null -w '%{http_code}' https://registry-1.docker.io/v2/ 2>/dev/null)" = 401 ]
}
