# The node: one process in network, mount and PID namespaces of its own. Killing it removes all of it.

node_pid() { # of the first process inside, when alive
  local outer; outer=$(cat "$STATE/node.pid" 2>/dev/null) || return 1
  [ -d "/proc/$outer" ] || return 1
  pgrep -P "$outer" | head -n 1 | grep .
}
enter() { local pid; pid=$(node_pid) || fail "the node is not running; run: $0 up"; nsenter -t "$pid" -n -m -p "$@"; }
kube() { "$BIN/kube" kubectl --kubeconfig "$STATE/kubeconfig" "$@"; }

prepare_cgroups() {
  local part
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/pointsman
    for part in cpu cpuset memory pids io; do echo "+$part" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true; done
    return 0
  fi
  for part in /sys/fs/cgroup/*/; do mkdir -p "$part/pointsman" 2>/dev/null || true; done
  # An empty cpuset refuses every process.
  for part in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$part" >"/sys/fs/cgroup/cpuset/pointsman/cpuset.$part"; done
}

start_node() {
  if node_pid >/dev/null; then return 0; fi
  stop_bridges
  rm -rf "$STATE"/stopped "$STATE"/*.sock; mkdir -p "$STATE/stopped"
  prepare_cgroups
  export STATE BIN NODE_IP POD_NETWORK
  setsid unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc \
    "$HERE/inside" >"$STATE/log/node.log" 2>&1 9>&- </dev/null &
  echo $! >"$STATE/node.pid"
  wait_for 10 "node" "$STATE/log/node.log" node_pid
}

stop_node() {
  local outer; outer=$(cat "$STATE/node.pid" 2>/dev/null) || outer=
  if [ -n "$outer" ] && [ -d "/proc/$outer" ]; then
    kill -9 "$outer" 2>/dev/null || true
    while [ -d "/proc/$outer" ]; do sleep 0.1; done
  fi
  rm -f "$STATE/node.pid"
  stop_bridges
}

# bridge NAME PORT: from a host port on loopback to a unix socket that a socat inside serves.
bridge() {
  setsid socat "TCP-LISTEN:$2,bind=127.0.0.1,fork,reuseaddr,backlog=512" "UNIX-CONNECT:$STATE/$1.sock" \
    >>"$STATE/log/bridge-$1.log" 2>&1 9>&- </dev/null &
  echo $! >"$STATE/bridge-$1.pid"
}
bridge_up() { local pid; pid=$(cat "$STATE/bridge-$1.pid" 2>/dev/null) && [ -d "/proc/$pid" ]; }
stop_bridges() {
  local file
  for file in "$STATE"/bridge-*.pid; do
    [ -f "$file" ] || continue
    kill -- "-$(cat "$file")" 2>/dev/null || true
    rm -f "$file"
  done
}

remove_cgroups() {
  find /sys/fs/cgroup -depth -type d -path '*/pointsman*' -exec rmdir {} + 2>/dev/null || true
}
