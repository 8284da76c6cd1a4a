# shellcheck shell=bash
# The node: one process in network, mount and PID namespaces of its own. Killing it removes all of it.

node_pid() { # of the first process inside, when alive
  runs "$STATE/node.pid" "/local/inside" || return 1
  pgrep -P "$(cat "$STATE/node.pid")" | head -n 1 | grep .
}

# enter [--net] COMMAND...: inside the node. With --net only the network is the node's, and the command keeps the
# process id that the caller sees: the kind for load tools that are measured, signalled or killed.
enter() {
  local pid kinds=(-n -m -p)
  if [ "${1:-}" = --net ]; then
    kinds=(-n)
    shift
  fi
  pid=$(node_pid) || fail "the node is not running; run: $0 up"
  nsenter -t "$pid" "${kinds[@]}" "$@"
}

kube() { "$BIN/kube" kubectl --kubeconfig "$STATE/kubeconfig" "$@"; }

start_node() {
  if node_pid >/dev/null; then return 0; fi
  stop_node
  rm -rf "$STATE"/stopped "$STATE"/run "$STATE"/*.sock
  mkdir -p "$STATE"/stopped "$STATE"/run
  prepare_cgroups
  export STATE BIN NODE_IP POD_NETWORK CGROUP GATEWAY_NODE_PORT
  setsid unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc \
    "$HERE/inside" >"$STATE/log/node.log" 2>&1 9>&- </dev/null &
  echo $! >"$STATE/node.pid"
  wait_for 10 "node" "$STATE/log/node.log" node_pid
}

# The kernel kills everything inside with the outer process, however that ends.
stop_node() {
  local outer inner
  if runs "$STATE/node.pid" "/local/inside"; then
    outer=$(cat "$STATE/node.pid")
    inner=$(pgrep -P "$outer" | head -n 1) || true
    kill -9 "$outer" 2>/dev/null || true
    while [ -d "/proc/$outer" ] || { [ -n "$inner" ] && [ -d "/proc/$inner" ]; }; do sleep 0.1; done
  fi
  rm -f "$STATE/node.pid"
  stop_bridges
}

# bridge NAME PORT: from a host port on loopback to a unix socket that a socat inside serves.
bridge() {
  ! bridge_up "$1" || return 0
  setsid socat -t 30 "TCP-LISTEN:$2,bind=127.0.0.1,fork,reuseaddr,backlog=4096" "UNIX-CONNECT:$STATE/$1.sock" \
    >>"$STATE/log/bridge-$1.log" 2>&1 9>&- </dev/null &
  echo $! >"$STATE/bridge-$1.pid"
  sleep 0.2
  bridge_up "$1" || fail_log "port $2 of 127.0.0.1 could not be opened" "$STATE/log/bridge-$1.log"
}

bridge_up() { runs "$STATE/bridge-$1.pid" "$STATE/$1.sock"; }

stop_bridges() {
  local file
  for file in "$STATE"/bridge-*.pid; do
    [ -f "$file" ] || continue
    # Each is the leader of a group, with one process per connection in it.
    if runs "$file" "$STATE/"; then kill -- "-$(cat "$file")" 2>/dev/null || true; fi
    rm -f "$file"
  done
}

# Makes NAME stay down until start_component. Killed at once, as in a crash.
stop_component() {
  touch "$STATE/stopped/$1"
  enter kill -9 "$(cat "$STATE/run/$1.pid")" 2>/dev/null || true
}

start_component() { rm -f "$STATE/stopped/$1"; }

# The folders that components insist on; the node covers them with its own, and they stay empty on the host.
HOST_FOLDERS=(/var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers /run/containerd)

# Taking away a folder that another namespace has mounted something on would take the mount away there, so one that
# a second cluster's node uses stays.
remove_host_folders() {
  local folder used
  # Processes that end meanwhile make cat fail, and that says nothing.
  used=$(cat /proc/[0-9]*/mountinfo 2>/dev/null | cut -d' ' -f5 | sort -u) || true
  for folder in "${HOST_FOLDERS[@]}"; do
    [ -d "$folder" ] || continue
    grep -Fx -- "$folder" <<<"$used" >/dev/null || rmdir "$folder" 2>/dev/null || true
  done
}
