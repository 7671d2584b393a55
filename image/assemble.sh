#!/bin/bash
# Packs WORK/root and WORK/boot into a bootable disk image, offline: no loop device, no
# device-mapper. Slot A is filled, slot B ships empty.
# Usage: assemble.sh TOOLS_TAR WORK VERSION IMAGE KEYS   (signing.sh's directory)
set -euo pipefail
umask 022
tools_tar=${1:?tools tree} work=$(readlink -f "${2:?work directory}") version=${3:?version}
image=${4:?image} keys=${5:?directory of keys}
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=image/layout.sh
. "$here/layout.sh"
if [ -z "${TUTTI_MOUNTS:-}" ]; then
    exec env TUTTI_MOUNTS=own unshare --mount "$0" "$@"
fi
step() { echo "assemble: $*" >&2; now=$*; }
trap 'echo "assemble: failed while: ${now:-starting}" >&2' ERR
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1760000000}
tools=$work/tools
t() { chroot "$tools" env LC_ALL=C MTOOLS_SKIP_CHECK=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
MIB=2048 # sectors

step "unpacking the tools"
if [ "$(cat "$tools.from" 2>/dev/null)" != "$tools_tar" ]; then
    rm -rf "$tools"
    mkdir -p "$tools"
    tar -xpf "$tools_tar" -C "$tools"
    echo "$tools_tar" > "$tools.from"
fi
mkdir -p "$tools/w"
mount --bind "$work" "$tools/w"
mount --bind /dev "$tools/dev"
mount -t proc proc "$tools/proc"

step "root: squashfs and its verity tree in one partition"
rm -f "$work"/{root,esp,boot,data,disk}.img
# Without fragments: a small file that shares a block with others is read by unpacking all of them,
# a twentieth of what the processor does in a start.
t mksquashfs /w/root /w/root.img -comp zstd -Xcompression-level "${TUTTI_SQUASHFS_LEVEL:-15}" \
    -b 131072 -no-fragments -noappend -no-progress -quiet -xattrs
size=$(stat -c %s "$work/root.img")
blocks=$(((size + 4095) / 4096))
truncate -s $((blocks * 4096)) "$work/root.img"
salt=$(printf 'tutti %s' "$version" | sha256sum | cut -c1-64)
hash=$(t veritysetup format --no-superblock --data-blocks=$blocks --hash-offset=$((blocks * 4096)) \
    --salt="$salt" --data-block-size=4096 --hash-block-size=4096 --hash=sha256 \
    /w/root.img /w/root.img | awk '/^Root hash/ { print $3 }')
[ ${#hash} = 64 ] || { echo "assemble: veritysetup gave no root hash" >&2; exit 1; }
[ "$(stat -c %s "$work/root.img")" -le $((size_root << 20)) ] ||
    { echo "assemble: the root does not fit its $size_root MiB" >&2; exit 1; }

# fat IMAGE MIB LABEL SOURCE: a FAT file system with what lies in SOURCE.
fat() {
    truncate -s "$2M" "$work/$1"
    t mkfs.vfat -F 32 -n "$3" --invariant "/w/$1" > /dev/null
    find "$work/$4" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    local entry
    for entry in "$work/$4"/*; do
        t mcopy -s -p -m -Q -i "/w/$1" "/w/$4/${entry##*/}" ::/
    done
}

step "boot partition of slot A"
cat > "$work/boot/slot.cfg" <<C
set cmdline="root=/dev/mapper/tutti-root rootfstype=squashfs ro tutti.verity=$blocks:$hash:$salt \
console=tty1 console=ttyS0,115200n8 net.ifnames=0 panic=10 quiet loglevel=4 \
systemd.show_status=auto systemd.import_credentials=no lsm=lockdown,yama,landlock,apparmor \
${TUTTI_CMDLINE:-}"
C
step "ESP: Debian's signed shim and GRUB, one grub.cfg for both firmwares"
esp=$work/esp
rm -rf "$esp"
mkdir -p "$esp/EFI/BOOT" "$esp/EFI/debian" "$esp/grub"
cp "$tools/usr/lib/shim/shimx64.efi.signed" "$esp/EFI/BOOT/BOOTX64.EFI"
cp "$tools/usr/lib/shim/mmx64.efi.signed" "$esp/EFI/BOOT/mmx64.efi"
cp "$tools/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$esp/EFI/BOOT/grubx64.efi"
# The signed GRUB looks for its configuration in EFI/debian, wherever it was started from.
echo 'configfile ($root)/grub/grub.cfg' > "$esp/EFI/debian/grub.cfg"
cp "$here/grub.cfg" "$esp/grub/grub.cfg"
t grub-editenv /w/esp/grub/grubenv create
t grub-editenv /w/esp/grub/grubenv set "ORDER=A B" A_OK=1 A_TRY=0 B_OK=0 B_TRY=0

step "the same, signed by the builder: kernel, initrd and command line in one, and a GRUB for them"
"$here/own_keys.sh" "$work" "$keys"
fat boot.img "$size_boot" BOOT-A boot
fat esp.img "$size_esp" ESP esp

step "data partition"
truncate -s "${size_data}M" "$work/data.img"
# With the seed of its checksums kept apart from its UUID, first boot changes that in one write.
t mke2fs -q -t ext4 -O metadata_csum_seed -U "$shipped_data" -L tutti-data -m 1 /w/data.img

step "partition table"
linux=0FC63DAF-8483-4772-8E79-3D69D8477DE4
root_type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
start=1
table="label: gpt
label-id: $shipped_disk
unit: sectors"
# add NUMBER NAME TYPE MIB: the next partition; sets at_NAME to where it starts, in MiB.
add() {
    table+="
start=$((start * MIB)), size=$(($4 * MIB)), type=$3, name=$2, uuid=$shipped_part$1"
    printf -v "at_${2//-/_}" %d "$start"
    start=$((start + $4))
}
add $part_bios bios 21686148-6449-6E6F-744E-656564454649 $size_bios
add $part_esp esp C12A7328-F81F-11D2-BA4B-00A0C93EC93B $size_esp
add $part_boot_a boot-a $linux $size_boot
add $part_root_a root-a $root_type $size_root
add $part_boot_b boot-b $linux $size_boot
add $part_root_b root-b $root_type $size_root
add $part_data data $linux $size_data
truncate -s $((start + 1))M "$work/disk.img"
t sfdisk -q /w/disk.img <<< "$table"
put() { dd if="$work/$1.img" of="$work/disk.img" bs=1M seek="$2" conv=notrunc,sparse status=none; }
# Set by add.
# shellcheck disable=SC2154
put esp "$at_esp"
# shellcheck disable=SC2154
put boot "$at_boot_a"
# shellcheck disable=SC2154
put root "$at_root_a"
# shellcheck disable=SC2154
put data "$at_data"

step "GRUB for BIOS"
cat > "$work/early.cfg" <<'C'
regexp --set=1:disk '^([^,]*)' "$root"
set root=$disk,gpt2
set prefix=($root)/grub
configfile ($root)/grub/grub.cfg
C
t grub-mkimage -O i386-pc -c /w/early.cfg -p /grub -o /w/core.img biosdisk part_gpt fat normal \
    configfile linux loadenv test echo probe regexp serial terminal sleep reboot halt ls cat \
    minicmd true gzio
python3 "$here/bios_boot.py" "$work/disk.img" "$tools/usr/lib/grub/i386-pc/boot.img" \
    "$work/core.img"
mkdir -p "$(dirname "$image")"
mv "$work/disk.img" "$image"
step "$image"
