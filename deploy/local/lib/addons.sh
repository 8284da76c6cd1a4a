# What runs on the cluster before anything of ours: names, Gateway API, a real gateway.

module_folder() { (cd "$HERE/gateway" && go list -m -f '{{.Dir}}' "$1"); }

install_dns() { sed "s#localhost/coredns:1.15.0#localhost/coredns:local#" "$HERE/manifests/coredns.yaml" | kube apply -f - >>"$STATE/log/addons.log" 2>&1 || fail "DNS could not be installed; see $STATE/log/addons.log"; }

install_gateway() {
  local api gateway chart
  [ -f "$STATE/gateway.installed" ] && return 0
  api=$(module_folder sigs.k8s.io/gateway-api); gateway=$(module_folder github.com/envoyproxy/gateway)
  { kube apply --server-side --force-conflicts -f "$api/config/crd/standard" \
    && kube apply --server-side --force-conflicts -f "$gateway/charts/gateway-helm/charts/crds/crds/generated"; } >>"$STATE/log/addons.log" 2>&1 \
    || fail "Gateway API could not be installed; see $STATE/log/addons.log"
  chart=$(mktemp -d); cp -r "$gateway/charts/gateway-helm/." "$chart"; chmod -R u+w "$chart"
  if [ ! -f "$chart/values.yaml" ]; then
    sed -e 's#\${GatewayImage}#localhost/envoy-gateway:local#' -e 's#\${GatewayImagePullPolicy}#IfNotPresent#' \
      -e 's#\${[A-Za-z]*}#unused#' "$chart/values.tmpl.yaml" >"$chart/values.yaml"
  fi
  "$BIN/helm" --kubeconfig "$STATE/kubeconfig" upgrade --install eg "$chart" -n envoy-gateway-system --create-namespace --skip-crds \
    --set crds.enabled=false --set deployment.envoyGateway.image.repository=localhost/envoy-gateway --set deployment.envoyGateway.image.tag=local \
    --set global.images.envoyGateway.image=localhost/envoy-gateway:local --set global.images.envoyGateway.pullPolicy=IfNotPresent \
    --set deployment.envoyGateway.imagePullPolicy=IfNotPresent >>"$STATE/log/addons.log" 2>&1 \
    || fail "the gateway could not be installed; see $STATE/log/addons.log"
  rm -rf "$chart"
  kube apply --server-side --force-conflicts -f "$HERE/manifests/gateway.yaml" >>"$STATE/log/addons.log" 2>&1 \
    || fail "the Gateway could not be made; see $STATE/log/addons.log"
  touch "$STATE/gateway.installed"
}

programmed() { kube -n gateway-system wait --for=condition=Programmed gateway/gateway --timeout=1s; }

gateway_address() {
  kube -n envoy-gateway-system get service -l gateway.envoyproxy.io/owning-gateway-name=gateway -o 'jsonpath={.items[0].spec.clusterIP}'
}

open_gateway() {
  gateway_address >"$STATE/gateway.address"
  bridge_up gateway && return 0
  setsid nsenter -t "$(node_pid)" -n socat "UNIX-LISTEN:$STATE/gateway.sock,fork,unlink-early,backlog=512" "TCP:$(cat "$STATE/gateway.address"):80" \
    >>"$STATE/log/bridge-gateway.log" 2>&1 9>&- </dev/null &
  echo $! >"$STATE/bridge-gateway-inside.pid"
  bridge gateway "$GATEWAY_PORT"
}
