# Progress and failure, in words for people.
STARTED=$SECONDS
say() { printf '[%3d s] %s\n' $((SECONDS - STARTED)) "$*" >&2; }
fail() { printf 'cluster: %s\n' "$*" >&2; exit 1; }
# wait_for SECONDS WHAT LOG COMMAND...: polls a condition; on failure names the component and its log.
wait_for() {
  local limit=$1 what=$2 log=$3 begin=$SECONDS; shift 3
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS - begin >= limit)); then fail "$what is not well after $limit s; its log is $log"; fi
    sleep 0.5
  done
  say "$what ready"
}
