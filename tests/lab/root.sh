#!/bin/bash
# Makes the lab's guest: a Debian root (ext4), its kernel and a small initramfs. TUTTI_LAB_SUITE is
# the release, else Debian 13; another one has a newer strongSwan.
#
#   root.sh [CACHE]     prints the directory that holds vmlinuz, initrd and root.ext4
#
# The directory's name carries a hash of all that shapes it, so a changed script never meets an
# old root. It is built beside its place and renamed, so an interrupted build never counts.
# TUTTI_MIRROR overrides the Debian mirror, which otherwise is the one this machine's apt uses.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/tutti}
suite=${TUTTI_LAB_SUITE:-trixie}

packages=(
  linux-image-cloud-amd64 kmod busybox-static
  iproute2 nftables iputils-ping netbase procps tcpdump iperf3 netcat-openbsd curl strace
  strongswan-charon strongswan-swanctl strongswan-pki libstrongswan-standard-plugins
  libstrongswan-extra-plugins libcharon-extra-plugins
  openssl sqlite3 python3 python3-scapy python3-cryptography faketime
)

key=$(cat "$here/root.sh" "$here/guest/init" "$here/guest/initramfs" | sha256sum | cut -c1-16)
root=$cache/lab-$suite-$key
if [ -e "$root/root.ext4" ]; then echo "$root"; exit; fi

# The machine's own Debian archive; security and third-party archives end differently.
mirror() {
  [ -z "${TUTTI_MIRROR:-}" ] || { echo "$TUTTI_MIRROR"; return; }
  apt-get indextargets --format '$(REPO_URI) $(RELEASE)' |
    awk '$1 ~ /\/debian\/?$/ && $2 !~ /security/ && !seen {print $1; seen = 1}'
}

mkdir -p "$cache"
exec 9> "$cache/lab.lock"
flock 9
if [ -e "$root/root.ext4" ]; then echo "$root"; exit; fi
[ "$(id -u)" = 0 ] || { echo "root.sh: must run as root (mmdebstrap)" >&2; exit 1; }
from=$(mirror)
[ -n "$from" ] || { echo "root.sh: no Debian mirror found; set TUTTI_MIRROR" >&2; exit 1; }

tmp=$(mktemp -d "$cache/lab-building.XXXXXX")
trap 'rm -rf --one-file-system "$tmp"' EXIT
echo "lab: building the guest root (a few minutes, once); log in $cache/lab-root.log" >&2
{
  mmdebstrap --mode=root --variant=minbase --skip=cleanup/apt --format=directory \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include="$(IFS=,; echo "${packages[*]}")" \
    "$suite" "$tmp/tree" "deb $from $suite main"
  tree=$tmp/tree
  kernel=$(ls "$tree/usr/lib/modules")
  cp "$tree/boot/vmlinuz-$kernel" "$tmp/vmlinuz"
  # Under emulation modprobe of compressed modules takes seconds.
  find "$tree/usr/lib/modules/$kernel" -name '*.ko.xz' -print0 | xargs -0 -P2 -n50 xz -d
  chroot "$tree" depmod "$kernel"

  initrd=$tmp/initrd.d
  mkdir -p "$initrd"/{bin,m,new,dev,proc}
  cp "$tree/usr/bin/busybox" "$initrd/bin/"
  cp "$tree/usr/lib/modules/$kernel/kernel/drivers/block/virtio_blk.ko" "$initrd/m/"
  install -m 755 "$here/guest/initramfs" "$initrd/init"
  (cd "$initrd" && find . | "$tree/usr/bin/busybox" cpio -o -H newc) > "$tmp/initrd"

  rm -rf "$tree/boot" "$tree"/vmlinuz* "$tree"/initrd* "$tree"/var/{cache,lib}/apt/*
  mkdir -p "$tree/lab" "$tree/job" "$tree/out"
  install -m 755 "$here/guest/init" "$tree/lab/init"
  mke2fs -q -t ext4 -O ^has_journal -m0 -d "$tree" "$tmp/root.ext4" 1500M
  rm -rf "$tree" "$initrd"
} > "$cache/lab-root.log" 2>&1 || {
  echo "root.sh: building the lab root failed; see $cache/lab-root.log" >&2
  exit 1
}
chmod 755 "$tmp"
mv -T "$tmp" "$root"
trap - EXIT
echo "$root"
