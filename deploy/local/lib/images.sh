# shellcheck shell=bash
# Images without a registry: built with buildah, kept as archives in the cache, imported into containerd.

# archive NAME VERSION: its path, which changes with the Dockerfile and what lies beside it.
archive() {
  local sum
  sum=$(cat "$HERE/../images/$1".* | cksum | cut -d' ' -f1)
  echo "$IMAGES/$1-$2-$sum.tar"
}

# The C libraries that a dynamic binary names, and the loader, at their own paths below FOLDER.
copy_libraries() {
  local binary=$1 folder=$2 library
  ldd "$binary" | grep -oE '/[^ ]+' | while read -r library; do
    install -D -m 755 "$(readlink -f "$library")" "$folder$library"
  done
}

# stage NAME FOLDER: lays out what the Dockerfile copies.
stage() {
  local folder=$2
  case $1 in
    pause) cc -Os -static -o "$folder/pause" "$HERE/../images/pause.c" ;;
    coredns) cp "$BIN/coredns-$COREDNS_VERSION" "$folder/coredns" ;;
    envoy-gateway)
      mkdir -p "$folder/home" "$folder/tmp"
      chmod 1777 "$folder/tmp"
      touch "$folder/home/.keep" "$folder/tmp/.keep"
      cp "$BIN/envoy-gateway-$ENVOY_GATEWAY_VERSION" "$folder/envoy-gateway"
      ;;
    envoy)
      mkdir -p "$folder/rootfs/tmp"
      chmod 1777 "$folder/rootfs/tmp"
      install -D -m 755 "$BIN/envoy-$ENVOY_VERSION" "$folder/rootfs/usr/local/bin/envoy"
      copy_libraries "$BIN/envoy-$ENVOY_VERSION" "$folder/rootfs"
      ;;
  esac
}

# image NAME VERSION: makes the archive unless it is there. The work folder is gone whatever happens next.
image() {
  local name=$1 target log=$STATE/log/image-$1.log work store
  target=$(archive "$1" "$2")
  ARCHIVES+=("$target")
  [ ! -f "$target" ] || return 0
  say "building image $name (once)"
  work=$(mktemp -d "$IMAGES/.work.XXXXXX")
  mkdir "$work/context"
  store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
  { stage "$name" "$work/context" &&
    buildah bud -q --isolation chroot "${store[@]}" -f "$HERE/../images/$name.Dockerfile" -t "localhost/$name:local" "$work/context" &&
    buildah push -q "${store[@]}" "localhost/$name:local" "oci-archive:$work/image.tar:localhost/$name:local"; } \
    </dev/null >"$log" 2>&1 || fail_log "image $name could not be built" "$log"
  mv "$work/image.tar" "$target"
  rm -rf "$work"
}

build_images() {
  mkdir -p "$IMAGES"
  # What killed builds left; the lock says that nobody builds now.
  rm -rf "$IMAGES"/.work.*
  ARCHIVES=()
  image pause "$PAUSE_VERSION"
  image coredns "$COREDNS_VERSION"
  image envoy-gateway "$ENVOY_GATEWAY_VERSION"
  image envoy "$ENVOY_VERSION"
}

containerd_says() { ctr --address "$STATE/containerd.sock" --namespace k8s.io "$@"; }

# import_image ARCHIVE [LOG]: an archive of the oci or docker kind.
import_image() {
  local log=${2:-$STATE/log/import.log}
  [ -f "$1" ] || fail "there is no image archive $1"
  containerd_says images import "$1" </dev/null >"$log" 2>&1 || fail_log "$1 could not be imported" "$log"
}

# import_own ARCHIVE...: the cluster's own images, unless this very archive was imported.
import_own() {
  local file mark
  mkdir -p "$STATE/imported"
  for file in "$@"; do
    mark=$STATE/imported/$(basename "$file")
    [ ! -f "$mark" ] || continue
    import_image "$file"
    touch "$mark"
    say "image $(basename "$file" .tar) imported"
  done
}

import() {
  local file
  (($#)) || fail "usage: cluster import ARCHIVE..."
  ! other_cluster || fail "KUBECONFIG names another cluster; load images with its own tool (kind load image-archive, k3d image import)"
  need_root
  node_pid >/dev/null || fail "the node is not running; run: $0 up"
  for file in "$@"; do
    # A log of its own: imports may run at the same time, and the names are read from it.
    import_image "$file" "$STATE/log/import-$$.log"
    sed -n 's/^unpacking \([^ ]*\).*/\1/p' "$STATE/log/import-$$.log"
    rm -f "$STATE/log/import-$$.log"
  done
}
