# shellcheck shell=bash
# What the machine must give, and its control groups.

need_root() { [ "$(id -u)" = 0 ] || fail "this command needs root, because the node's namespaces do; run it as root"; }

need_machine() {
  local instead="make a cluster with kind or k3d, with a Gateway API implementation in it, and set KUBECONFIG"
  [ "$(uname -s)" = Linux ] || fail "the local cluster needs Linux; or $instead"
  [ "$(id -u)" = 0 ] || fail "the local cluster needs root for its namespaces; run as root, or $instead"
  unshare --net --mount --propagation private --pid --fork --mount-proc true 2>/dev/null ||
    fail "this machine gives no new network, mount and process namespaces; $instead"
  [ -n "$(cgroup_roots)" ] || fail "no control groups are mounted below /sys/fs/cgroup; $instead"
}

# After the packages are there, because it uses their programs.
need_kernel() {
  local instead="make a cluster with kind or k3d and set KUBECONFIG"
  unshare --net sh -c 'ip link add try0 type bridge && ip link add try1 type veth peer name try2' 2>/dev/null ||
    fail "the kernel has no bridge or veth devices; $instead"
  unshare --net nft add table ip check 2>/dev/null || fail "the kernel has no nftables; $instead"
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || fail "the kernel has no overlay file system; $instead"
}

cgroup_v2() { [ -f /sys/fs/cgroup/cgroup.controllers ]; }

# The top of each hierarchy: one on version 2, one per controller on version 1.
cgroup_roots() {
  if cgroup_v2; then
    echo /sys/fs/cgroup
  else
    awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup/" {print $2}' /proc/mounts | sort -u
  fi
}

prepare_cgroups() {
  local root part
  for root in $(cgroup_roots); do mkdir -p "$root/$CGROUP"; done
  if cgroup_v2; then
    for part in cpu cpuset memory pids io hugetlb; do
      echo "+$part" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    done
    return 0
  fi
  # An empty cpuset refuses every process.
  root=/sys/fs/cgroup/cpuset
  [ -d "$root/$CGROUP" ] || return 0
  for part in cpus mems; do cat "$root/cpuset.$part" >"$root/$CGROUP/cpuset.$part"; done
}

# Groups go once their last process is gone, which takes a moment after the node was killed.
remove_cgroups() {
  local root left try
  for try in $(seq 50); do
    left=
    for root in $(cgroup_roots); do
      [ -d "$root/$CGROUP" ] || continue
      find "$root/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [ ! -d "$root/$CGROUP" ] || left=$root/$CGROUP
    done
    [ -n "$left" ] || return 0
    sleep 0.2
  done
  say "a control group could not be removed after $try tries: $left"
}
