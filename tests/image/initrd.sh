#!/bin/bash
# Whether the initrd has every driver that a disk may need: initrd.sh OUT. What its hook names and what the kernel
# has not is passed over silently when it is made.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=${1:?usage: initrd.sh OUT}
# Bare metal, then VMware and older hypervisors, then Hyper-V, Xen, KVM.
wanted="ahci nvme usb-storage uas sd_mod vmw_pvscsi mptspi mptsas hv_vmbus hv_storvsc xen-blkfront
    virtio_pci virtio_blk virtio_scsi"
hooked=$(sed -n 's/^manual_add_modules //p' "$here/../../rootfs/etc/initramfs-tools/hooks/tutti")
# Names are written with either of - and _.
there=$({ zstd -dcq "$out/image/boot/initrd.img" | cpio -t --quiet
    cat "$out"/image/root/usr/lib/modules/*/modules.builtin; } | sed -n 's|.*/\(.*\)\.ko$|\1|p' | tr - _)
missing=()
for name in $(printf '%s\n' $wanted $hooked | tr - _ | sort -u); do
    grep -qx "$name" <<< "$there" || missing+=("$name")
done
echo "$(wc -l <<< "$there") drivers in the initrd or the kernel; missing: ${missing[*]:-none}"
[ ${#missing[@]} = 0 ]
