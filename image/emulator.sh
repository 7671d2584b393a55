#!/bin/bash
# Makes the emulator's tree in CACHE; prints its path. What is in its wrap/ runs from there whatever
# this machine has of it.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${1:?usage: emulator.sh CACHE}
packed=$("$here/trees.sh" "$cache" emulator)
tree=${packed%.tar}-$(sha256sum "$0" | cut -c1-4)
if [ ! -d "$tree" ]; then
    part=$(mktemp -d "$cache/.emulator.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    chmod 755 "$part"
    tar xf "$packed" -C "$part" ./usr
    mkdir "$part/wrap"
    for program in qemu-system-x86_64 qemu-img qemu-io; do
        # Its tree is /usr to the program and to nothing else.
        cat > "$part/wrap/$program" <<'WRAP'
#!/bin/sh
tree=$(dirname "$(dirname "$(readlink -f "$0")")")
exec unshare --mount sh -c 'mount --bind "$1" /usr && shift && exec "$@"' sh "$tree/usr" \
    "/usr/bin/$(basename "$0")" "$@"
WRAP
        chmod 755 "$part/wrap/$program"
    done
    # Another build may have been as far.
    mv -T "$part" "$tree" 2> /dev/null || [ -d "$tree" ]
fi
echo "$tree"
