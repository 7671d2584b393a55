#!/usr/bin/env bash
# Three booted appliances: the demo is started, the main job proven on it, pictures taken, and the
# demo ended. One PASS or FAIL line for each behaviour.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
top=$here/../..
out=${TUTTI_OUT:-$top/out}
mkdir -p "$out/real"
[ -s "$out/real/chinook.db" ] || python3 "$top/tests/real/chinook.py" "$out/real/chinook.db"
trap '"$top/image/demo.sh" stop' EXIT
# emulator_failed: whether that was the emulator's own fault, as machine.py has it.
emulator_failed() {
    local n
    for n in 1 2 3; do
        ! grep -q "Assertion\|Bail out\|IO-APIC + timer doesn't work" "$out/demo/peer$n.log" \
            "$out/demo/peer$n/console.log" || return 0
        [ "$(grep -c "timer wakeup didn't happen" "$out/demo/peer$n/console.log")" -lt 2 ] || return 0
    done
    return 1
}
if "$top/image/demo.sh" start || { emulator_failed && echo "the emulator failed; begun again" &&
    "$top/image/demo.sh" start; }; then
    echo "PASS the demo ends with three peers active"
else
    tail -n 30 "$out"/demo/peer*/console.log
    echo "FAIL the demo ends with three peers active"
    exit 1
fi
failed=0
first_boot=()
if grep -qs 'Tutti first-boot setup' "$out/first-boot.log"; then
    first_boot=("$out/first-boot.log")
else
    echo "no console of a first boot in $out: its picture is not taken"
fi
python3 "$top/tests/browser/pictures.py" "$out/demo" "$out/pictures" \
    "${first_boot[@]}" &&
    echo "PASS a browser shows the cluster" || { echo "FAIL a browser shows the cluster"; failed=1; }
python3 "$here/proof.py" "$out/demo" "$out/real/chinook.db" || failed=1
exit $failed
