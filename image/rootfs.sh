#!/bin/bash
# Makes WORK/root from the base tree, rootfs/, systemd/ and the tutti binary, and WORK/boot with
# the kernel and initrd that go with it. The initrd is cached by what went into it.
# Usage: rootfs.sh BASE_TAR WORK CACHE VERSION KEYS   (TUTTI_BIN: the binary; KEYS: the builder's)
set -euo pipefail
umask 022
base=${1:?base tree} work=${2:?work directory} cache=${3:?cache} version=${4:?version}
keys=${5:?directory of keys}
here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")
binary=${TUTTI_BIN:-$top/target/appliance/tutti}
root=$work/root boot=$work/boot

# A mount namespace of our own: what is mounted for chroot ends with us, however we end.
if [ -z "${TUTTI_MOUNTS:-}" ]; then
    exec env TUTTI_MOUNTS=own unshare --mount "$0" "$@"
fi
step() { echo "rootfs: $*" >&2; now=$*; }
trap 'echo "rootfs: failed while: ${now:-starting}" >&2' ERR
[ -x "$binary" ] || { echo "rootfs: no binary $binary: build it or set TUTTI_BIN" >&2; exit 1; }
in_root() { chroot "$root" env LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

step "unpacking the base tree"
rm -rf "$root" "$boot"
mkdir -p "$root" "$boot"
tar -xpf "$base" --xattrs --xattrs-include='*' -C "$root"
cp -a --no-preserve=ownership "$top/rootfs/." "$root/"
install -D -m 644 "$here/layout.sh" "$root/usr/lib/tutti/layout.sh"
install -m 644 -t "$root/usr/lib/systemd/system" "$top"/systemd/*
install -m 755 "$binary" "$root/usr/bin/tutti"
mkdir -p "$root/data" "$root/efi"
# By it a running system knows whose signature it was started with.
mkdir -p "$root/usr/share/tutti"
openssl x509 -in "$keys/cert.pem" -outform DER -out "$root/usr/share/tutti/builder.cer"
chmod 644 "$root/usr/share/tutti/builder.cer"
# The release key: who built this image says what it is.
build=$(git -C "$top" describe --always --dirty --abbrev=12 --exclude='*')
printf 'version = "%s"\nbuild = "%s"\n' "$version" "$build" > "$root/usr/share/tutti/release"
openssl dgst -sha256 -sign "$keys/key.pem" -out "$root/usr/share/tutti/release.sig" \
    "$root/usr/share/tutti/release"
chmod 644 "$root/usr/share/tutti"/release{,.sig}

step "users, units, release"
in_root systemd-sysusers
in_root systemctl -q preset-all
in_root systemctl -q enable tutti-console@tty1.service tutti-console@ttyS0.service
in_root systemctl -q mask getty@tty1.service serial-getty@ttyS0.service \
    systemd-firstboot.service ldconfig.service systemd-hwdb-update.service \
    systemd-journal-catalog-update.service systemd-update-done.service \
    systemd-networkd-persistent-storage.service systemd-network-generator.service \
    systemd-hibernate-clear.service systemd-battery-check.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount \
    sys-kernel-config.mount systemd-repart.service systemd-sysusers.service \
    systemd-udev-load-credentials.service \
    dev-mqueue.mount run-lock.mount systemd-remount-fs.service \
    kmod-static-nodes.service systemd-tmpfiles-setup-dev{,-early}.service \
    modprobe@{configfs,dm_mod,drm,loop}.service
in_root systemctl -q set-default multi-user.target
# Names are resolved by whoever needs them; nothing of the start itself waits for that.
sed -i '/^Before=/s/\(sysinit\|network\)\.target *//g' \
    "$root/usr/lib/systemd/system/systemd-resolved.service"
mkdir -p "$root/etc/systemd/system-generators"
for generator in ssh gpt-auto cryptsetup hibernate-resume rc-local integritysetup veritysetup \
    tpm2 sysv system-update run bless-boot; do
    ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
cat > "$root/usr/lib/os-release" <<R
NAME="Tutti"
ID=tutti
ID_LIKE=debian
PRETTY_NAME="Tutti $version"
VERSION_ID="$version"
BUILD_ID="$build"
R
printf 'Tutti %s on \\n (\\l)\nAddress: \\4\n\n' "$version" > "$root/etc/issue"
echo tutti > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 tutti\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
# Nobody logs in before setup has set a password.
in_root passwd -q -l root

step "kernel modules"
kernel=$(ls "$root/usr/lib/modules")
modules=$root/usr/lib/modules/$kernel/kernel
rm -rf "$modules"/drivers/gpu/drm/{amd,nouveau,radeon,i915,xe} "$modules"/{sound,net/bluetooth,net/mac80211,net/wireless} \
    "$modules"/drivers/{media,staging,infiniband,iio,bluetooth,isdn,net/wireless}
# The root and the initrd are compressed as a whole; loading .xz one by one is slow at every boot.
find "$modules" -name '*.ko.xz' -print0 | xargs -0 -r -n 100 -P "$(nproc)" xz -d
in_root depmod "$kernel"

step "initrd"
initrd=$cache/initrd-$(cd "$root" && { basename "$base"; cat "$here/rootfs.sh" usr/lib/tutti/layout.sh \
    etc/initramfs-tools/hooks/tutti etc/initramfs-tools/conf.d/tutti.conf \
    etc/initramfs-tools/scripts/*/*; } | sha256sum | cut -c1-16).img
if [ ! -s "$initrd" ]; then
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t sysfs sys "$root/sys"
    in_root mkinitramfs -o /boot/initrd.new "$kernel"
    umount "$root/dev" "$root/proc" "$root/sys"
    mv "$root/boot/initrd.new" "$initrd.new"
    mv "$initrd.new" "$initrd"
fi
cp "$initrd" "$boot/initrd.img"
cp "$root/boot/vmlinuz-$kernel" "$boot/vmlinuz"

step "leaving out what an appliance never uses"
# What is in it stays known; what could change it goes.
mkdir -p "$root/usr/share/tutti"
in_root dpkg-query -W -f '${Package} ${Version}\n' > "$root/usr/share/tutti/packages.txt"
rm -rf "$root"/var/lib/{dpkg,apt} "$root"/usr/lib/{apt,dpkg} "$root"/usr/share/{dpkg,debconf} \
    "$root"/usr/bin/{apt,dpkg,debconf}* "$root"/usr/sbin/{dpkg,dpkg-*,update-initramfs,mkinitramfs} \
    "$root"/etc/{dpkg,debconf.conf} "$root"/usr/lib/systemd/system/{apt,dpkg}*
rm -rf "$root"/etc/{cron.d,cron.daily,logrotate.d,ucf.conf} "$root"/usr/{libexec/dpkg,share/{apt,ucf}} \
    "$root"/usr/bin/ucf* "$root"/usr/share/perl5/{Debconf,Debian} "$root"/var/lib/{ucf,grub/ucf} \
    "$root"/var/lib/systemd/deb-systemd* "$root"/var/cache/{apt,debconf} \
    "$root"/usr/lib/x86_64-linux-gnu/lib{apt-p,debconfclient}*.so* \
    "$root"/usr/share/bash-completion/completions/{apt,debconf}* \
    "$root"/usr/share/polkit-1/actions/org.dpkg.*
rm -rf "$root"/boot/* "$root"/vmlinuz* "$root"/initrd.img* "$root"/usr/share/{man,info,locale}/*
rm -rf "$root"/var/cache/ldconfig/* "$root"/var/log/*
rm -rf "$root"/var/lib/initramfs-tools "$root"/etc/initramfs-tools "$root"/etc/apt
rm -rf "$root"/usr/lib/initramfs-tools "$root"/usr/share/initramfs-tools
# Rules for what an appliance has not, and the names of devices for people.
rm -f "$root"/usr/lib/udev/hwdb.bin
(cd "$root/usr/lib/udev/rules.d" && rm -f 60-autosuspend.rules 60-dmi-id.rules 60-drm.rules \
    60-evdev.rules 60-fido-id.rules 60-infiniband.rules 60-persistent-{alsa,input,v4l}.rules \
    60-persistent-storage-{mtd,tape}.rules 60-sensor.rules 60-serial.rules 64-btrfs.rules \
    70-{camera,joystick,memory,mouse,touchpad,uaccess}.rules 73-seat-late.rules 75-probe_mtd.rules \
    78-sound-card.rules 81-net-dhcp.rules 90-iocost.rules)
rm -rf "$root"/etc/rsyslog.{conf,d} "$root"/etc/ssh/ssh_host_* "$root"/usr/share/bug "$root"/usr/share/lintian

# Where systemd finds libbpf it probes, at each start, for what no unit here uses: up to a third of
# an emulated boot. So the library belongs to the tools that are linked with it.
step "libbpf for iproute2 alone"
own=usr/lib/iproute2
mkdir -p "$root/$own"
mv "$root"/usr/lib/x86_64-linux-gnu/libbpf.so.* "$root/$own/"
for tool in usr/bin/ip usr/bin/ss usr/sbin/tc; do
    mv "$root/$tool" "$root/$own/"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=/%s exec /%s/%s "$@"\n' "$own" "$own" "${tool##*/}" \
        > "$root/$tool"
    chmod 755 "$root/$tool"
done

step "the data partition's first content"
mkdir -p "$root/var/log/journal" "$root/var/lib/chrony"
cp -a "$root/var" "$root/usr/share/tutti/var"
rm -rf "$root/usr/share/tutti/var"/{cache,lib/systemd/deb-systemd*}
mkdir -p "$root/usr/share/tutti/var/cache"
