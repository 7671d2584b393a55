"""Everything that goes wrong with a machine, and what its console says of it."""

import re
import subprocess
from functools import partial

from system import SETUP, setup_file, switched_on

# Where the partitions lie in the shipped image, in MiB (image/layout.sh).
ROOT_A, DATA = 1 + 1 + 128 + 192, 1 + 1 + 128 + 2 * (192 + 640)


def set_up(image, work, **options):
    """A machine with a first boot behind it."""
    return switched_on(image, work, credential=options.pop("credential", SETUP), **options)


def spoil(overlay, mib, count_mib=8):
    """Overwrites part of a machine's disk while it is off."""
    subprocess.run(["qemu-io", "-c", f"write -P 0xa5 {mib}M {count_mib}M", str(overlay)],
                   check=True, capture_output=True)


def words(text):
    """An expression for words that the console may break into lines anywhere."""
    return r"\s+".join(re.escape(word) for word in text.split())


def other_disk(path, image, first):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
                    str(image.resolve()), str(path)], check=True)
    return ["-drive", f"id=other,if=none,format=qcow2,cache=unsafe,file={path}",
            "-device", "virtio-blk-pci,drive=other" + (",bootindex=0" if first else "")]


def two_disks(firmware, image, work):
    extra = other_disk(work / "other.qcow2", image, first=True)
    shipped = "for d in vda vdb; do sfdisk --disk-id /dev/$d | grep -ci 7457cd01; done | tr '\\n' ' '"
    with set_up(image, work, firmware=firmware, extra=extra) as system:
        system.answers()
        system.log_in()
        assert system.run("readlink -f /dev/tutti/esp") == "/dev/vdb2", "not the booted disk"
        assert system.run(shipped) == "1 0", "the other disk was touched"
        system.sound()
        system.run("sync")
    extra[-1] = extra[-1].removesuffix(",bootindex=0")
    with set_up(image, work, firmware=firmware, extra=extra,
                credential=setup_file(work, host_name='"other"')) as system:
        system.answers()
        system.log_in()
        assert system.run("cat /proc/sys/kernel/hostname") == "other"
        assert system.run("readlink -f /dev/tutti/esp") == "/dev/vda2", "not the booted disk"
        assert system.run(shipped) == "0 0"


def two_disks_nobody_can_tell(image, work):
    extra = other_disk(work / "other.qcow2", image, first=True)
    with set_up(image, work, extra=extra) as system:
        system.shows("Tutti: slot A")
        system.machine.unplug()
    extra[-1] = extra[-1].removesuffix(",bootindex=0")
    with set_up(image, work, extra=extra) as system:
        system.shows("Tutti: slot A")
        system.machine.unplug()
    with set_up(image, work, extra=extra) as system:
        system.shows("it[ \n]*cannot be told which one was booted")
    with set_up(image, work) as system:
        system.answers()


def corrupted_root(image, work):
    with set_up(image, work) as system:
        system.answers()
        system.log_in()
        system.expect("grub-editenv /efi/grub/grubenv list | grep -x A_TRY=0", "A_TRY=0")
        system.run("sync")
    spoil(work / "disk.qcow2", ROOT_A + 4, 90)
    with set_up(image, work) as system:
        system.shows("(?s)device-mapper: verity.*corrupted|verity.*panic|does not match its hash")
        system.shows("(?s)the disk or its software is damaged: write the image to a new disk")


def corrupted_data(image, work):
    with set_up(image, work) as system:
        system.answers()
    spoil(work / "disk.qcow2", DATA, 180)
    with switched_on(image, work) as system:
        system.shows("The data partition cannot be used")
        advice = words("nothing that is set up now is kept. Replace the disk, or write the image to it "
                       "anew; a member of a cluster gets its rows back from its peers.")
        system.shows(f"(?s)Tutti first-boot setup.*! The data partition cannot be used.*{advice}"
                     ".*IP protocol")


def full_data(image, work):
    with set_up(image, work) as system:
        system.answers()
        system.log_in()
        system.run("dd if=/dev/zero of=/data/fill bs=64k 2>/dev/null; sync")
        assert system.run("df --output=avail /data | tail -n 1").strip() == "0"
    with switched_on(image, work) as system:
        system.answers()
        system.shows("(?s)Less than 5 % of the data partition is free.*" + words(
            "Bring back peers that are away, for which changes are kept, or remove them; delete backup "
            "files in /var/lib/tutti/serve; move to a larger disk."))
        system.log_in()
        assert system.run("systemctl --failed --plain --no-legend") == ""
        system.run("rm /data/fill")
        system.expect("grep -c 'data partition is free' /etc/issue", "0")


def clock(year):
    def run(image, work):
        file = setup_file(work, ntp_servers='["10.0.2.99"]')
        with set_up(image, work, credential=file, extra=["-rtc", f"base={year}-01-01"]) as system:
            system.answers()
            system.shows("clock is not synchronized")
            system.shows("Set NTP servers that answer")
            system.log_in()
            system.sound()
    return run


def no_network(image, work):
    with set_up(image, work, nic=None) as system:
        system.shows("(?s)This system has no address: no DHCP server has answered.*tutti\\s+setup --again")
        system.log_in()
        system.sound("systemd-networkd-wait-online.*Timeout")


def no_names(image, work):
    with set_up(image, work, credential=setup_file(work, dns_servers='["10.0.2.99"]')) as system:
        system.shows("(?s)No name server answers: 10.0.2.99.*" + words(
            "Look at the network, or set servers that answer: System > DNS."))
        system.log_in()
        system.sound()


def healthy(image, work):
    with set_up(image, work, credential=setup_file(work, dns_servers='["10.0.2.3"]')) as system:
        system.shows("(?s)Tutti .* on image-test.*https://10.0.2.15/.*Serial.*SHA-256.*Cluster +none"
                     ".*image-test login:")
        system.log_in()
        number = system.run("cat /run/tutti/serial")
        assert system.run("grep -c . /var/lib/tutti/host/serial") == "1", "no serial number kept"
        agents = "systemctl is-active qemu-guest-agent open-vm-tools hv-kvp-daemon | sort -u"
        assert system.run(agents) == "inactive", "a guest agent without its hypervisor"
        system.run("sync")
    with set_up(image, work) as system:
        system.log_in()
        assert system.run("cat /run/tutti/serial") == number, "another serial number"
    named = ["-smbios", "type=1,serial=HW-42-7"]
    with set_up(image, work, extra=named) as system:
        system.log_in()
        assert system.run("cat /run/tutti/serial") == "HW-42-7"


CASES = {
    "healthy": ("the console shows name, address, fingerprint, and a serial number that stays", healthy),
    "two-disks": ("of two appliance disks only the booted one is used", partial(two_disks, "bios")),
    "two-disks-uefi": ("of two appliance disks only the booted one is used, by UEFI too",
                       partial(two_disks, "uefi")),
    "two-disks-alike": ("two disks that nobody can tell apart are refused", two_disks_nobody_can_tell),
    "corrupted-root": ("a corrupted root is never run, and the console says what to do", corrupted_root),
    "corrupted-data": ("an unusable data partition is named before anything is asked", corrupted_data),
    "full-data": ("a full data partition is an alarm, and gone with room", full_data),
    "clock-1970": ("a clock in 1970 without NTP is an alarm", clock(1970)),
    "clock-2099": ("a clock in 2099 without NTP is an alarm", clock(2099)),
    "no-network": ("without a network the console says what to look at", no_network),
    "no-names": ("name servers that do not answer are an alarm", no_names),
}
