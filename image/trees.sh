#!/bin/bash
# Makes Debian trees as tar files in CACHE, keyed by what went in: tools (what the build runs), base
# (the appliance's root before anything of ours is in it), emulator (what boots the image for a test
# or a demo). Prints their paths. A finished tree is renamed into place, so a cut build leaves none.
set -euo pipefail
umask 022
here=$(dirname "$(readlink -f "$0")")
cache=${1:?usage: trees.sh CACHE NAME...}
shift
suite=trixie

die() { echo "trees: $*" >&2; exit 1; }

# This machine's own archive for a suite pattern; nothing here names a host.
archive() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' |
        awk -v want="$1" '$2 ~ want { print $1; exit }'
}
mirror=${TUTTI_MIRROR:-$(archive '^[a-z]+$')}
security=${TUTTI_SECURITY_MIRROR:-$(archive '-security$')}
[ -n "$mirror" ] || die "no Debian archive in apt's configuration: set TUTTI_MIRROR"
[ -n "$security" ] || die "no security archive in apt's configuration: set TUTTI_SECURITY_MIRROR"

packages() { sed 's/#.*//' "$here/packages-$1.txt" | xargs | tr ' ' ','; }
key() { cat "$here/trees.sh" "$here/packages-$1.txt" | sha256sum | cut -c1-16; }

# bootstrap NAME ARGUMENT...
bootstrap() {
    local name=$1 target part
    shift
    target=$cache/$name-$(key "$name").tar
    if [ ! -s "$target" ]; then
        part=$(mktemp -d "$cache/.$name.XXXXXX")
        echo "trees: bootstrapping $name, log in $cache/$name.log" >&2
        mmdebstrap --mode=root --variant=apt --include="$(packages "$name")" \
            --aptopt='APT::Install-Recommends "false"' \
            --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/info/*' \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            "$@" "$suite" "$part/tree.tar" \
            "deb $mirror $suite main" \
            "deb $mirror $suite-updates main" \
            "deb $security $suite-security main" \
            > "$cache/$name.log" 2>&1 || {
            rm -rf "$part"
            die "mmdebstrap failed for $name, see $cache/$name.log"
        }
        mv "$part/tree.tar" "$target"
        rmdir "$part"
    fi
    echo "$target"
}

mkdir -p "$cache"
for name in "$@"; do
    options=()
    # The kernel's own hook must not spend a minute on an initrd that rootfs.sh makes again.
    [ "$name" != base ] || options=(--essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" &&
        echo MODULES=list > "$1/etc/initramfs-tools/conf.d/tutti.conf"')
    bootstrap "$name" "${options[@]}"
done
