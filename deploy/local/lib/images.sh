# Images without a registry: built with buildah, kept as archives in the cache, imported into containerd.

# image NAME TAG DOCKERFILE FOLDER: makes the archive unless it is there. Prints its path.
image() {
  local name=$1 tag=$2 dockerfile=$3 folder=$4 archive=$IMAGES/$1-$2.tar
  if [ ! -f "$archive" ]; then
    buildah bud -q --isolation chroot --storage-driver vfs --root "$IMAGES/storage" --runroot "$IMAGES/run" \
      -f "$HERE/../images/$dockerfile" -t "localhost/$name:local" "$folder" >>"$STATE/log/images.log" 2>&1 \
      && buildah push -q --storage-driver vfs --root "$IMAGES/storage" --runroot "$IMAGES/run" "localhost/$name:local" \
        "oci-archive:$archive.part:localhost/$name:local" >>"$STATE/log/images.log" 2>&1 \
      || fail "image $name could not be built; its log is $STATE/log/images.log"
    mv "$archive.part" "$archive"
    say "image $name built"
  fi
  echo "$archive"
}

# The C libraries that a dynamic binary names, and the loader, at their own paths below FOLDER.
copy_libraries() {
  local binary=$1 folder=$2 library
  ldd "$binary" | grep -oE '/[^ ]+' | while read -r library; do
    install -D -m 755 "$(readlink -f "$library")" "$folder$library"
  done
}

build_images() {
  local work; work=$(mktemp -d)
  mkdir -p "$IMAGES" "$work"/{pause,coredns,gateway/home,gateway/tmp,envoy/rootfs/usr/local/bin}
  cc -O2 -static -o "$work/pause/pause" "$HERE/../images/pause.c"
  ln "$(readlink -f "$BIN/coredns")" "$work/coredns/coredns" 2>/dev/null || cp "$BIN/coredns" "$work/coredns/coredns"
  cp "$BIN/envoy-gateway" "$work/gateway/envoy-gateway"; chmod 1777 "$work/gateway/tmp"; touch "$work/gateway/home/.keep" "$work/gateway/tmp/.keep"
  cp "$BIN/envoy-$ENVOY_VERSION" "$work/envoy/rootfs/usr/local/bin/envoy"
  copy_libraries "$work/envoy/rootfs/usr/local/bin/envoy" "$work/envoy/rootfs"
  mkdir -p "$work/envoy/rootfs/tmp"; chmod 1777 "$work/envoy/rootfs/tmp"
  ARCHIVES=("$(image pause "$PAUSE_VERSION" pause.Dockerfile "$work/pause")"
    "$(image coredns "$COREDNS_VERSION" coredns.Dockerfile "$work/coredns")"
    "$(image envoy-gateway "$ENVOY_GATEWAY_VERSION" envoy-gateway.Dockerfile "$work/gateway")"
    "$(image envoy "$ENVOY_VERSION" envoy.Dockerfile "$work/envoy")")
  rm -rf "$work"
}

import_images() {
  local archive name
  for archive in "$@"; do
    name=$(basename "$archive")
    [ -f "$STATE/imported/$name" ] && [ ! "$archive" -nt "$STATE/imported/$name" ] && continue
    enter ctr -a "$STATE/containerd.sock" -n k8s.io images import "$archive" >>"$STATE/log/images.log" 2>&1 \
      || fail "$name could not be imported; its log is $STATE/log/images.log"
    mkdir -p "$STATE/imported"; touch -r "$archive" "$STATE/imported/$name"
    say "image $name imported"
  done
}
