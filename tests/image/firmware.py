"""Every firmware with every kind of disk and several network cards."""

from system import SETUP, switched_on

NICS = {"virtio": "virtio-net-pci", "scsi": "vmxnet3", "ahci": "e1000", "nvme": "e1000e",
        "usb": "rtl8139"}
NAMES = {"bios": "BIOS", "uefi": "UEFI", "secure": "UEFI with Secure Boot"}
SECURE = ("mokutil --sb-state 2>/dev/null || od -An -t u1 -j 4 -N 1 "
          "/sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '")


def boots(firmware, disk):
    def run(image, work):
        with switched_on(image, work, firmware=firmware, disk=disk, nic=NICS[disk],
                         credential=SETUP, disk_size="6G") as system:
            system.answers()
            system.log_in()
            system.sound()
            if firmware == "secure":
                assert system.run(SECURE) == "1", "Secure Boot is not on"
                assert "integrity" in system.run("cat /sys/kernel/security/lockdown"), "no lockdown"
    return run


CASES = {
    f"{firmware}-{disk}": (
        f"{NAMES[firmware]}, {disk} disk, {NICS[disk]}: sets itself up, answers, nothing failed",
        boots(firmware, disk))
    for disk in NICS for firmware in NAMES
}
