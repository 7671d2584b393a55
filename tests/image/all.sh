#!/bin/bash
# What every run of the suite proves about the image; one PASS or FAIL line each.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
out=${TUTTI_OUT:-$here/../../out}
image=$(find "$out" -maxdepth 1 -name 'tutti-*-amd64.img' -printf '%T@ %p\n' | sort -n |
    tail -n 1 | cut -d ' ' -f 2-)
[ -n "$image" ] || { echo "FAIL image: none in $out, build it first"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
try() {
    local name=$1
    shift
    if "$@"; then echo "PASS $name"; else echo "FAIL $name"; failed=1; fi
}

# exposure UNIT LIMIT: what systemd says of the unit's sandbox.
exposure() {
    local found
    found=$("$here/exposure.sh" "$out" "$1") || return 1
    echo "exposure of $1: $found, at most $2"
    awk "BEGIN { exit !($found <= $2) }"
}
units=("$out"/image/root/usr/lib/systemd/system/tutti-*.service)
for unit in "${units[@]##*/}"; do
    case $unit in
    tutti-ike.service | tutti-keyer.service | tutti-serve.service) limit=2.0 ;;
    tutti-syslog.service | tutti-volume.service) limit=2.0 ;;
    tutti-credentials.service | tutti-boot-ok.service | tutti-watchdog.service) limit=4.0 ;;
    # It becomes a login, and root's shell may do everything.
    tutti-console@.service) continue ;;
    *) limit=4.5 ;;
    esac
    try "exposure of ${unit%.service}" exposure "$unit" "$limit"
done
try "the initrd has the driver of every disk" "$here/initrd.sh" "$out"

# built_with: what could build or install software in the root, beside the licences of packages.
built_with() {
    local found
    found=$(cd "$out/image/root" && find . -xdev \( -iname '*dpkg*' -o -iname '*debconf*' -o -iname 'apt' -o \
        -iname 'apt[-_.]*' -o -iname 'libapt*' -o -name 'ucf*' -o -name 'cron.*' \) \
        ! -path './usr/share/doc/*'
        cd usr/bin && ls -d cc gcc* c++* g++* cpp* ld as make tcc clang* python* 2> /dev/null)
    echo "could build or install software: ${found:-nothing}"
    [ -d "$out/image/root/usr/bin" ] && [ -z "$found" ]
}
try "the root has no compiler and no package manager, nor their state" built_with

# One machine after another in each of two lanes: a boot seldom keeps two processors busy.
export TUTTI_MACHINES=2
boots() {
    try "BIOS, virtio: unattended first boot answers HTTPS, data grows, no unit failed" \
        python3 "$here/first_boot.py" "$image" "$work/bios"
    try "UEFI, SATA, e1000: a person answers the console's questions, one of them wrongly" \
        python3 "$here/wizard.py" "$image" "$work/uefi"
    cp "$work/uefi/console.log" "$out/first-boot.log"
    return $failed
}
boots > "$work/boots.log" 2>&1 &
# Of the wide matrix (build.sh test image-all) Secure Boot and remote syslog always and another part each hour, which
# is printed; each case is a line of its own. TUTTI_PART=N takes a certain one.
parts=36
part=${TUTTI_PART:-$(($(date +%s) / 3600 % parts))}
echo "part $part of $parts of the wide matrix"
# The part first: some of its cases do little but wait, and the boots fill that.
python3 "$here/matrix.py" "$image" "$work/matrix" --part "$part/$parts" || failed=1
python3 "$here/matrix.py" "$image" "$work/matrix" secure-nvme remote-syslog || failed=1
wait $! || failed=1
cat "$work/boots.log"
exit $failed
