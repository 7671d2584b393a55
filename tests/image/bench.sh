#!/usr/bin/env bash
# Figures of the image, one `name: value` a line. Times are of this machine, emulated unless its KVM
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
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
for firmware in bios uefi; do
    said=$(python3 "$here/boot.py" "$image" --firmware $firmware --https "$port" --timeout 600 \
        --credential "$here/setup.toml" --work "$work/$firmware")
    echo "boot_s_$firmware: $(sed -n 's/.*after \([0-9.]*\) s.*/\1/p' <<< "$said")"
done
