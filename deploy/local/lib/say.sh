# shellcheck shell=bash
# Progress and failure, in words for people.
say() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }
fail() { printf 'cluster: %s\n' "$*" >&2; exit 1; }

# fail_log WHAT LOG: names the log and shows its end.
fail_log() {
  printf 'cluster: %s; its log is %s\n' "$1" "$2" >&2
  tail -n 5 "$2" 2>/dev/null | cut -c1-240 | sed 's/^/  | /' >&2 || true
  exit 1
}

# wait_for SECONDS WHAT LOG COMMAND...: polls a condition; on failure names the component and its log.
wait_for() {
  local limit=$1 what=$2 log=$3 begin=$SECONDS
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS - begin >= limit)); then fail_log "$what is not well after $limit s" "$log"; fi
    sleep 0.2
  done
  say "$what ready"
}

# take_lock: one command at a time changes the cluster or the cache. The lock is the kernel's: it goes with its holder.
take_lock() {
  [ -z "${LOCKED:-}" ] || return 0
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lock"
  LOCKED=yes
  flock -n 9 && return 0
  say "another command is changing the cluster; waiting for it"
  flock -w 1800 9 || fail "another command has held $CACHE/lock for half an hour"
}

# runs FILE WORD: the process that FILE names is alive and its command line holds WORD, so a number that an old file
# kept and the kernel gave to somebody else is not taken for ours.
runs() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -F -- "$2" >/dev/null
}
