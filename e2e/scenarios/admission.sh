# What the API server takes. Sourced by e2e/run.

# refused TEXT JQ: auth-plugin with that change is not admitted, and the message says why.
refused() {
  local answer
  answer=$(resource auth-plugin | jq ".spec.source = {path: \"/plugins/auth\"} | $2" | k apply --dry-run=server -f - 2>&1) && fail "admitted: $2"
  [[ $answer == *"$1"* ]] || fail "expected '$1', found: $answer"
}

bad_objects_are_refused_with_a_reason() {
  refused 'source' '.spec.source = {}'
  refused 'source' '.spec.source = {path: "/x", http: {url: "https://example.org/x", sha256: ("0" * 64)}}'
  refused "X.Y.Z" '.spec.manifest.version = "1.2"'
  refused 'digest' '.spec.source = {oci: {image: "registry.example/x", digest: "latest"}}'
  refused 'failurePolicy' '.spec.failurePolicy = "Sometimes"'
  refused 'unknown permission: foo' '.spec.manifest.permissions = {foo: true}'
  refused "permission mismatch: plugin requests 'exec' permission but manifest does not declare it" '.spec.permissions = {exec: true}'
  refused 'invalid dependency version constraint: =>1.0' '.spec.manifest.dependencies[0].version = "=>1.0"'
  refused 'circular dependency detected: auth-plugin -> auth-plugin' '.spec.manifest.dependencies[0].name = "auth-plugin"'
  refused 'token_ttl' '.spec.config.token_ttl = 5'
  local nested='{"a":{"b":[1,{"c":"d"},null],"e":1.5}}'
  same 'nested spec.config' "$nested" "$(resource auth-plugin | jq ".spec.source = {path: \"/plugins/auth\"} | .spec.config = $nested" |
    k apply --dry-run=server -o json -f - | jq -c .spec.config)"
}

# A folder as Argo CD or Flux apply it: dependents first, a dry run first.
folder_in_any_order() {
  local folder=$WORK/$NS a b; mkdir -p "$folder"
  application storefront 2
  a=$(versioned_json a 1.0.0 '.dependencies = [{name: "b", version: ">=1.0.0"}]')
  b=$(versioned_json b 1.0.0)
  printf '%s\n%s\n' "$a" "$b" >"$folder/reversed.json"
  k apply --dry-run=server -f "$folder/reversed.json"
  k apply -f "$folder/reversed.json" >/dev/null
  ready a 1.0.0
  ready b 1.0.0
  versioned b 2.0.0 "$(faulty initialize)"
  returned b 1.0.0 'cannot read the key store'
  not_ready b
  same 'tries of 2.0.0' 1 "$(tries b 2.0.0)"
  printf '%s\n' "$b" | k apply -f - >/dev/null
  ready b 1.0.0
  versioned b 2.0.0 "$(faulty initialize)"
  within 60 2 tries b 2.0.0
  returned b 1.0.0 'cannot read the key store'
  same 'tries of 2.0.0 after 1.0.0 and 2.0.0 again' 2 "$(tries b 2.0.0)"
  # First the one that is required.
  k delete plugin b a --timeout=60s >/dev/null
  within 60 0 running_in a
  within 60 0 running_in b
}
