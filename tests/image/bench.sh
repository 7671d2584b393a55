#!/usr/bin/env bash
# Figures of the image, one `name: value` a line: bench.sh [--cold]. Times are of this machine, emulated unless its KVM
# works: compare them only within one run.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=${TUTTI_OUT:-$here/../../out}
image=$(find "$out" -maxdepth 1 -name 'tutti-*-amd64.img' -printf '%T@ %p\n' | sort -n |
    tail -n 1 | cut -d ' ' -f 2-)
[ -n "$image" ] || { echo "bench: no image in $out, build it first" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "image_zst_mb: $(($(zstd -q -T0 -c "$image" | wc -c) / 1000000))"
for role in ike keyer serve host; do
    exposure=$(chroot "$out/image/root" systemd-analyze security --offline=true --no-pager \
        "tutti-$role.service" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
    echo "exposure_$role: $exposure"
done
# built NAME: how long an image takes, the binary being there already.
built() {
    local began
    began=$(date +%s)
    "$here/../../image/build.sh" "$work/built" > "$work/build.log" 2>&1
    echo "$1: $(($(date +%s) - began))"
    rm -rf "$work/built"
}
# Everything is cached but what a commit changes: the root, the disk.
built build_s_cached
# With --cold nothing is: Debian's packages are fetched and unpacked again.
[ "${1:-}" != --cold ] || TUTTI_CACHE=$work/cache built build_s_cold
# What the last whole `./build.sh test` here took.
[ ! -s "$out/logs/test_s" ] || echo "test_s: $(cat "$out/logs/test_s")"
python3 "$here/bench.py" "$image" "$work"
