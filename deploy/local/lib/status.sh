# shellcheck shell=bash
# What is well, what is not, and where to look.

line() { # NAME LOG COMMAND...
  local name=$1 log=$2
  shift 2
  if "$@" >/dev/null 2>&1; then printf '%-24s ok\n' "$name"; else printf '%-24s unwell  %s\n' "$name" "$log"; WELL=1; fi
}

# inside_get URL: from within the node's network; the components' certificates are their own.
inside_get() { enter --net curl -skf -m 3 -o /dev/null "$1"; }

healthy() {
  case $1 in
    etcd) inside_get http://127.0.0.1:2379/health ;;
    containerd) containerd_says version ;;
    kube-apiserver) inside_get https://127.0.0.1:6443/readyz ;;
    kube-controller-manager) inside_get https://127.0.0.1:10257/healthz ;;
    kube-scheduler) inside_get https://127.0.0.1:10259/healthz ;;
    kubelet) inside_get http://127.0.0.1:10248/healthz ;;
    kube-proxy) inside_get http://127.0.0.1:10256/healthz ;;
  esac
}

available() { kube --request-timeout=3s -n "$1" wait --for=condition=Available "deployment/$2" --timeout=1s; }

addresses() {
  echo "API server: https://127.0.0.1:$API_PORT   (export KUBECONFIG=$STATE/kubeconfig)"
  echo "gateway:    http://127.0.0.1:$GATEWAY_PORT from the host"
  echo "            http://$(cat "$STATE/gateway.address" 2>/dev/null || echo unknown) and http://$NODE_IP:$GATEWAY_NODE_PORT inside (cluster enter --net COMMAND)"
}

status() {
  WELL=0
  if other_cluster; then
    echo "KUBECONFIG=$KUBECONFIG names another cluster"
    exit 0
  fi
  node_pid >/dev/null || { echo "node                     down; bring it up with: $0 up"; exit 1; }
  local name log=$STATE/log
  for name in "${COMPONENTS[@]}"; do
    line "$name" "$log/$name.log" healthy "$name"
  done
  line "API server from the host" "$log/bridge-api.log" kube --request-timeout=3s get --raw /readyz
  line coredns "$log/addons.log; cluster kubectl -n kube-system logs deployment/coredns" available kube-system coredns
  line envoy-gateway "$log/addons.log; cluster kubectl -n envoy-gateway-system logs deployment/envoy-gateway" available envoy-gateway-system envoy-gateway
  line gateway "$log/addons.log; cluster kubectl -n gateway-system describe gateway" programmed
  line "gateway from the host" "$log/bridge-gateway.log" gateway_answers
  addresses
  exit "$WELL"
}
