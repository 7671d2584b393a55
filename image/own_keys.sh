#!/bin/bash
# What a machine starts that trusts the builder's key alone, beside what stock keys start:
# WORK/boot/tutti.efi, the slot's kernel, initrd and command line in one signed image, and
# WORK/esp/EFI/tutti/grubx64.efi, a signed GRUB that chooses the slot and can start nothing else.
# GRUB under Secure Boot starts only what one of its verifiers has judged, here by the builder's
# OpenPGP key; the firmware then judges the same file by the certificate.
# Usage: own_keys.sh WORK KEYS   (the tools tree is in WORK/tools, with WORK at its /w)
set -euo pipefail
umask 022
work=${1:?work directory} keys=${2:?directory of keys}
here=$(dirname "$(readlink -f "$0")")
t() { chroot "$work/tools" env LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
# Keys are copied into memory only, and gone with the mount namespace.
copy=$work/tools/run/signing
mkdir -p "$copy"
mount -t tmpfs -o mode=700 tmpfs "$copy"
cp "$keys"/* "$copy/"
sign() {
    t sbsign --key /run/signing/key.pem --cert /run/signing/cert.pem --output "$2" "$1" 2> /dev/null
}
pgp() { gpg --homedir "$copy/home" --batch --quiet "$@"; }
mkdir -m 700 "$copy/home"
pgp --import "$copy/pgp.key"
trap 'GNUPGHOME=$copy/home gpgconf --kill all' EXIT

sed -n 's/^set cmdline="\(.*\)"$/\1/p' "$work/boot/slot.cfg" | tr -d '\n' > "$work/cmdline"
[ -s "$work/cmdline" ] || { echo "own_keys: slot.cfg has no command line" >&2; exit 1; }
t ukify build --linux=/w/boot/vmlinuz --initrd=/w/boot/initrd.img --cmdline=@/w/cmdline \
    --os-release=@/w/root/usr/lib/os-release --output=/w/tutti.efi > /dev/null
sign /w/tutti.efi /w/boot/tutti.efi
rm -f "$work/boot/tutti.efi.sig"
pgp --digest-algo SHA512 --output "$work/boot/tutti.efi.sig" --detach-sign "$work/boot/tutti.efi"
pgp --export > "$work/grub-own.pgp"

rm -rf "$work/memdisk"
mkdir -p "$work/memdisk" "$work/esp/EFI/tutti"
{ echo 'set own=1'; cat "$here/grub.cfg"; } > "$work/memdisk/grub.cfg"
tar --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" --sort=name -cf "$work/memdisk.tar" \
    -C "$work/memdisk" grub.cfg
cat > "$work/early-own.cfg" <<'C'
regexp --set=1:root '^\(([^)]*)\)' "$cmdpath"
configfile (memdisk)/grub.cfg
C
t grub-mkimage -O x86_64-efi --disable-shim-lock -c /w/early-own.cfg -m /w/memdisk.tar -p /none \
    -k /w/grub-own.pgp -o /w/grub-own.efi pgp gcry_rsa gcry_sha512 memdisk tar part_gpt fat normal configfile chain loadenv test echo probe \
    regexp serial terminal sleep reboot halt minicmd true
sign /w/grub-own.efi /w/esp/EFI/tutti/grubx64.efi
cp "$work/esp/EFI/BOOT/BOOTX64.EFI" "$work/esp/EFI/tutti/shimx64.efi"
t openssl x509 -in /run/signing/cert.pem -outform DER -out /w/esp/tutti.cer
