#!/bin/bash
# Runs scenarios inside the lab guest; prints `PASS name` or `FAIL name` for each and leaves what
# they said, their logs and captures in /out/NAME/.
#
#   inside.sh [--limit SECONDS] [--jobs N] NAME...     files in scenarios/, with or without .sh
#
# Each runs in network, mount and process namespaces of its own: it begins from nothing, nothing
# it started outlives it, and several run side by side (they mostly wait). One that says `# ALONE` has
# the guest for itself, after all others. No log may hold the key.
limit=1200 jobs=5
while [ "${1#--}" != "$1" ]; do
  case $1 in
    --limit) limit=$2 ;;
    --jobs) jobs=$2 ;;
  esac
  shift 2
done
LAB=$(cd "$(dirname "$0")" && pwd)
export LAB limit

scenario() {
  local name begin=$SECONDS
  name=$(basename "$1" .sh)
  export OUT=/out/$name
  mkdir -p "$OUT"
  if timeout -k 5 "$limit" unshare --net --mount --pid --fork --kill-child --mount-proc bash -c '
      mount -t tmpfs tmpfs /tmp && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns
      ip link set lo up
      . "$LAB/lib.sh"
      . "$LAB/scenarios/$0.sh" &&
        { ! grep -lF "$KEY" "$OUT"/*.log 2> /dev/null || fail "the cluster key is in a log"; }' "$name" > "$OUT/said" 2>&1; then
    echo "PASS $name ($((SECONDS - begin)) s)"
    return 0
  fi
  local log report
  report=$(echo "FAIL $name ($((SECONDS - begin)) s)"
    tail -50 "$OUT/said"
    for log in "$OUT"/*.log; do
      [ -e "$log" ] && { echo "    -- ${log##*/}"; tail -8 "$log"; }
    done)
  echo "$report"
  return 1
}
export -f scenario
together=() alone=()
for name in "$@"; do
  if grep -q '^# ALONE' "$LAB/scenarios/$(basename "$name" .sh).sh"; then
    alone+=("$name")
  else
    together+=("$name")
  fi
done
# several JOBS NAME...
several() {
  local jobs=$1
  shift
  [ $# = 0 ] || printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'scenario {} || exit 1'
}
failed=
several "$jobs" "${together[@]}" || failed=yes
several 1 "${alone[@]}" || failed=yes
[ -z "$failed" ]
