#!/bin/bash
# The whole image: trees, root, disk. Prints the image's path.
# Usage: image/build.sh [OUT]   (TUTTI_BIN, TUTTI_CACHE, TUTTI_MIRROR, TUTTI_SECURITY_MIRROR,
# TUTTI_SIGNING)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")
out=${1:-$top/out}
cache=${TUTTI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tutti}/image
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct)
export SOURCE_DATE_EPOCH
mkdir -p "$out/image" "$cache"
trees=$("$here/trees.sh" "$cache" tools base)
{ read -r tools; read -r base; } <<< "$trees"
keys=$("$here/signing.sh" "$cache")
"$here/rootfs.sh" "$base" "$out/image" "$cache" "$version" "$keys"
"$here/assemble.sh" "$tools" "$out/image" "$version" "$out/tutti-$version-amd64.img" "$keys"
echo "$out/tutti-$version-amd64.img"
