#!/usr/bin/env bash
# Figures of the image, one `name: value` a line: bench.sh [--cold]. Times are of this machine, emulated unless its KVM
# works: compare them only within one run. --cold takes the better part of an hour, and a few GB.
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
    exposure=$("$here/exposure.sh" "$out" "tutti-$role.service")
    echo "exposure_$role: $exposure"
done
top=$(readlink -f "$here/../..")
# built NAME DIRECTORY VARIABLE=VALUE...: how long ./build.sh takes there, all of it.
built() {
    local name=$1 directory=$2 began
    shift 2
    began=$(date +%s)
    (cd "$directory" && env "$@" ./build.sh) > "$work/build.log" 2>&1 ||
        { tail -n 20 "$work/build.log" >&2; echo "bench: $name: the build failed" >&2; exit 1; }
    echo "$name: $(($(date +%s) - began))"
}
# Once more, nothing having changed: root and disk are made anew.
built build_s_cached "$top"
# With --cold nothing is there but this machine's own packages: Debian's trees, the crates and the binary are made
# from nothing, in a copy of the sources with a cache of its own.
if [ "${1:-}" = --cold ]; then
    mkdir -p "$work/source" "$work/cargo"
    tar -C "$top" --exclude=./out --exclude=./target -cf - . | tar -C "$work/source" -xf -
    # Where crates come from is this machine's matter.
    cp "${CARGO_HOME:-$HOME/.cargo}"/config* "$work/cargo/" 2>/dev/null || true
    built build_s_cold "$work/source" XDG_CACHE_HOME="$work/cache" CARGO_HOME="$work/cargo"
    rm -rf "$work/source" "$work/cache" "$work/cargo"
fi
# What the last whole `./build.sh test` took that passed, if it was of this commit.
read -r seconds commit 2>/dev/null < "$out/logs/test_s" || true
if [ -z "${seconds:-}" ]; then
    echo "bench: no whole ./build.sh test passed here yet: no test_s" >&2
elif [ "${commit:-}" != "$(git -C "$top" describe --always --dirty --abbrev=12 --exclude='*')" ]; then
    echo "bench: the last whole ./build.sh test was of ${commit:-an unknown commit}: no test_s" >&2
else
    echo "test_s: $seconds"
fi
python3 "$here/bench.py" "$image" "$work"
