"""Every firmware with every kind of disk and several network cards."""

import ssl
import subprocess
import uuid

from login import changed
from machine import OVMF
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


def variables(work, image, stock):
    """A firmware's variables with the builder's certificate, beside stock keys or alone."""
    der = work / "tutti.cer"
    # The ESP follows the BIOS boot partition (image/layout.sh).
    subprocess.run(["mcopy", "-n", "-i", f"{image}@@2M", "::/tutti.cer", str(der)], check=True)
    certificate = work / "tutti.pem"
    certificate.write_text(ssl.DER_cert_to_PEM_cert(der.read_bytes()))
    owner, path = str(uuid.uuid4()), work / ("both.fd" if stock else "own.fd")
    add = ["--add-db", owner, str(certificate)]
    if not stock:
        add += ["--set-pk", owner, str(certificate), "--add-kek", owner, str(certificate),
                "--secure-boot"]
    given = OVMF / ("OVMF_VARS_4M.ms.fd" if stock else "OVMF_VARS_4M.fd")
    subprocess.run(["virt-fw-vars", "-i", str(given), "-o", str(path), *add], check=True,
                   capture_output=True)
    return path


def own_keys(image, work):
    """From stock keys to the builder's; then a slot that was altered."""
    started = "tutti secure-boot --json | tr -d ' \\n'"
    both, own = (variables(work, image, stock) for stock in (True, False))
    with switched_on(image, work, firmware="secure", credential=SETUP) as system:
        system.answers()
        system.log_in()
        assert "stock_keys" in system.run(started)
        refused = system.run("tutti secure-boot --use own")
        assert "does not trust the builder's certificate yet" in refused, refused
        system.run("sync")
    with switched_on(image, work, firmware="secure", variables=both) as system:
        system.answers()
        system.log_in()
        assert "stock_keys" in system.run(started)
        system.run("tutti secure-boot --use own; sync")
    with switched_on(image, work, firmware="secure", variables=both) as system:
        system.answers()
        system.log_in()
        assert '"own_keys":{"others":true}' in system.run(started)
        system.run("sync")
    with switched_on(image, work, firmware="secure", variables=own) as system:
        system.answers()
        system.log_in()
        assert '"own_keys":{"others":false}' in system.run(started)
        system.sound()
        system.expect("grub-editenv /efi/grub/grubenv list | grep -x A_TRY=0", "A_TRY=0")
        system.run("mkdir /tmp/boot && mount /dev/tutti/boot-a /tmp/boot && printf x | "
                   "dd of=/tmp/boot/tutti.efi bs=1 seek=20000000 conv=notrunc; umount /tmp/boot; sync")
    with switched_on(image, work, firmware="secure", variables=own) as system:
        system.shows("bad signature")
    assert "Linux version" not in system.machine.console()


def rescue(image, work):
    """The shell of GRUB's menu, behind root's password, on a system that was set up."""
    with switched_on(image, work, credential=SETUP) as system:
        system.answers()
        system.log_in()
        system.run("sync")
    with switched_on(image, work) as system:
        console = system.console()
        console.expect(r"\(Esc: menu\)", LIMIT_S)
        console.type("\x1b")
        console.expect("Rescue shell", LIMIT_S)
        console.type("\x0e\x0e\r")  # Ctrl-N: the next line
        console.expect("(Give|Enter) root password", LIMIT_S)
        console.type(changed(ROOT_PASSWORD) + "\r")
        console.expect("[#] ", LIMIT_S)
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
CASES["own-keys"] = ("a machine that trusts the builder's keys alone starts what he signed, and "
                     "nothing that was altered", own_keys)
CASES["rescue"] = ("the rescue shell of the boot menu asks for root's password and takes it", rescue)
