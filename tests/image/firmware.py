"""Every firmware with every kind of disk and several network cards."""

from login import changed
from machine import Failed
from system import LIMIT_S, ROOT_PASSWORD, SETUP, switched_on

NICS = {"virtio": "virtio-net-pci", "scsi": "igb", "pvscsi": "vmxnet3", "ahci": "e1000", "nvme": "e1000e",
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
            level = "Level 1: " if firmware == "secure" else "Integrity only: "
            said = system.run("tutti secure-boot")
            assert level in said, f"expected {level!r}: {said}"
            if firmware == "secure":
                assert system.run(SECURE) == "1", "Secure Boot is not on"
                assert "integrity" in system.run("cat /sys/kernel/security/lockdown"), "no lockdown"
    return run


def rescue(image, work):
    """The shell of GRUB's menu, behind root's password, on a system that was set up."""
    with switched_on(image, work, credential=SETUP) as system:
        system.answers()
        system.log_in()
        # What was typed at the login is kept a moment later.
        kept = "journalctl -b -q -o cat -u tutti-host | grep -c 'password of root was changed, and is kept'"
        system.expect(kept, "1")
        system.run("sync")
    with switched_on(image, work) as system:
        console = system.console()
        console.expect(r"\(Esc: menu\)", LIMIT_S)
        console.type("\x1b")
        console.expect("Rescue shell", LIMIT_S)
        console.type("\x0e\x0e\r")  # Ctrl-N: the next line
        console.expect("(Give|Enter) root password", LIMIT_S)

        def let_in():
            # What is typed while the prompt is still written may be lost.
            console.type(changed(ROOT_PASSWORD) + "\r")
            try:
                return console.expect("[#] ", 30)
            except Failed:
                return None
        system.machine.wait("shell behind root's password", let_in, LIMIT_S)
        console.type("stty -echo; PS1=; export TERM=dumb SYSTEMD_COLORS=0\r")
        console.run("true")
        assert console.run("id -u; cat /etc/hostname") == "0\nimage-test"
        assert console.run("systemctl is-active tutti-serve") == "inactive"


CASES = {
    f"{firmware}-{disk}": (
        f"{NAMES[firmware]}, {disk} disk, {NICS[disk]}: sets itself up, answers, nothing failed",
        boots(firmware, disk))
    for disk in NICS for firmware in NAMES
    # This OVMF has no driver for VMware's; VMware's own firmware has.
    if (firmware, disk) not in (("uefi", "pvscsi"), ("secure", "pvscsi"))
}
CASES["rescue"] = ("the rescue shell of the boot menu asks for root's password and takes it", rescue)
