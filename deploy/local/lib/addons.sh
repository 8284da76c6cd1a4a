# shellcheck shell=bash
# What runs on the cluster before anything of ours: names, Gateway API, a real gateway.

module_folder() { # where go has put a module, after it checked the sum
  (cd "$HERE/gateway" && export GOWORK=off GOFLAGS=-mod=readonly && go mod download "$1" && go list -m -f '{{.Dir}}' "$1")
}

# apply LOG_NAME ARGS...: server-side, so it can be repeated.
apply() { kube apply --server-side --force-conflicts "$@" >>"$STATE/log/addons.log" 2>&1; }

install_dns() {
  apply -f "$HERE/manifests/coredns.yaml" || fail_log "DNS could not be installed" "$STATE/log/addons.log"
}

install_chart() { # FOLDER: the chart's values lack only the names of the images
  local chart=$1
  # shellcheck disable=SC2016
  sed -e 's#\${GatewayImage}#localhost/envoy-gateway:local#' -e 's#\${GatewayImagePullPolicy}#IfNotPresent#' \
    "$chart/values.tmpl.yaml" >"$chart/values.yaml"
  "$BIN/helm" --kubeconfig "$STATE/kubeconfig" upgrade --install eg "$chart" -n envoy-gateway-system --create-namespace \
    --skip-crds --set crds.enabled=false --set deployment.envoyGateway.resources.requests.cpu=20m \
    --set deployment.envoyGateway.resources.requests.memory=64Mi >>"$STATE/log/addons.log" 2>&1
}

# The mark holds what was installed, so a change of a version or a manifest installs again.
install_gateway() {
  local api gateway chart mark=$STATE/gateway.installed wanted log=$STATE/log/addons.log
  wanted=$(cat "$HERE/versions.env" "$HERE/manifests/gateway.yaml" "$HERE/lib/addons.sh" | cksum)
  [ "$(cat "$mark" 2>/dev/null)" != "$wanted" ] || return 0
  api=$(module_folder sigs.k8s.io/gateway-api) || fail "the module of Gateway API could not be downloaded"
  gateway=$(module_folder github.com/envoyproxy/gateway) || fail "the module of the gateway could not be downloaded"
  apply -f "$api/config/crd/standard" || fail_log "Gateway API could not be installed" "$log"
  apply -f "$gateway/charts/gateway-helm/charts/crds/crds/generated" || fail_log "the gateway's resources could not be installed" "$log"
  chart=$(mktemp -d)
  cp -r "$gateway/charts/gateway-helm/." "$chart"
  chmod -R u+w "$chart"
  # A release that a killed run left in the middle blocks the next one; it holds nothing that is not made again.
  install_chart "$chart" || {
    "$BIN/helm" --kubeconfig "$STATE/kubeconfig" uninstall eg -n envoy-gateway-system --wait >>"$log" 2>&1 || true
    install_chart "$chart" || fail_log "the gateway could not be installed" "$log"
  }
  rm -rf "$chart"
  apply -f "$HERE/manifests/gateway.yaml" || fail_log "the Gateway could not be made" "$log"
  echo "$wanted" >"$mark"
}

programmed() { kube -n gateway-system wait --for=condition=Programmed gateway/gateway --timeout=1s; }

gateway_address() {
  kube -n envoy-gateway-system get service -l gateway.envoyproxy.io/owning-gateway-name=gateway \
    -o 'jsonpath={.items[0].spec.clusterIP}'
}

# Any answer is good: 404 when there is no route yet.
gateway_answers() { curl -s -o /dev/null -m 2 "http://127.0.0.1:$GATEWAY_PORT/"; }
