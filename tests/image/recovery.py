"""What a machine recovers from by itself: a hung or crashed system, a service that hangs, a slot
that does not start. And what its console says where nothing is left to start."""

from faults import ROOT_A, set_up, spoil
from system import LIMIT_S, switched_on

GRUB = "Tutti: slot {}"
ROLES = ("host", "ike", "keyer", "serve")
# What is in slot A goes into slot B, as an update would bring it.
SECOND_SLOT = ("for p in boot root; do dd if=/dev/tutti/$p-a of=/dev/tutti/$p-b bs=4M count=48 "
               "status=none; done; grub-editenv /efi/grub/grubenv set B_OK=1 B_TRY=0; sync")
NO_KERNEL = ("mkdir -p /tmp/boot && mount /dev/tutti/boot-{} /tmp/boot && rm /tmp/boot/vmlinuz; "
             "umount /tmp/boot; sync")


def starts_again(system, after=""):
    """Reads on until the boot loader begins. (An emulator whose console nobody reads stands still.)"""
    system.console().expect(f"(?s){after}.*{GRUB.format('A')}", LIMIT_S)


def good(system, slot):
    system.expect(f"grub-editenv /efi/grub/grubenv list | grep -x {slot}_TRY=0", f"{slot}_TRY=0")


def up(system):
    """Up and logged in; the console is read while it starts."""
    system.log_in()
    system.answers()


def hung_by(driver, **options):
    """systemd stops at a fault and no longer feeds the watchdog, which is this driver's."""
    def run(image, work):
        with set_up(image, work, **options) as system:
            up(system)
            system.expect("cat /sys/class/watchdog/watchdog0/identity", driver)
            system.expect("cat /sys/class/watchdog/watchdog0/state", "active")
            good(system, "A")
            system.run("sync")
            system.console().type("kill -SEGV 1\r")
            starts_again(system)
            up(system)
            system.sound()
    return run


def crashed(image, work):
    with set_up(image, work) as system:
        up(system)
        good(system, "A")
        system.run("sync")
        system.console().type("echo c > /proc/sysrq-trigger\r")
        starts_again(system, "Kernel panic")
        up(system)
        system.sound()


def hung_services(image, work):
    with set_up(image, work) as system:
        up(system)
        system.sound()
        pid = "systemctl show -P MainPID tutti-{}"
        before = {role: system.run(pid.format(role)) for role in ROLES}
        system.run("kill -STOP " + " ".join(before.values()))
        for role in ROLES:
            system.expect(f"journalctl -b -q -o cat _PID=1 UNIT=tutti-{role}.service | "
                          "grep -c 'Watchdog timeout'", "1")
            system.expect(f"systemctl is-active tutti-{role}", "active")
            assert system.run(pid.format(role)) != before[role], f"{role} still hangs"
        system.answers()
        # They were ended, and stay up then.
        system.run("sleep 150")
        for role in ROLES:
            assert system.run(f"systemctl show -P NRestarts tutti-{role}") == "1", role
        assert system.run("systemctl --failed --plain --no-legend") == ""


def second_slot(image, work):
    with set_up(image, work) as system:
        up(system)
        good(system, "A")
        system.run(SECOND_SLOT)
    spoil(work / "disk.qcow2", ROOT_A + 4, 90)
    # Slot A ends in a panic, and the boot loader takes the other one then.
    with switched_on(image, work) as system:
        system.shows(GRUB.format("A"))
        system.shows(GRUB.format("B"))
        up(system)
        assert system.run("cat /run/tutti-slot") == "B"
        good(system, "B")
        system.sound()
        said = system.run("grub-editenv /efi/grub/grubenv list | grep -x A_TRY=1")
        assert said == "A_TRY=1", "the slot that did not start is to be tried again"
        system.run("sync")
    with switched_on(image, work) as system:
        up(system)
        assert system.run("cat /run/tutti-slot") == "B"
        assert GRUB.format("A") not in system.machine.console(), "the spoilt slot was tried again"


def missing_kernel(image, work):
    with set_up(image, work) as system:
        up(system)
        good(system, "A")
        system.run(SECOND_SLOT)
        system.run(NO_KERNEL.format("a"))
    with switched_on(image, work) as system:
        up(system)
        assert system.run("cat /run/tutti-slot") == "B"
        good(system, "B")
        system.sound()
        system.run("grub-editenv /efi/grub/grubenv set B_OK=0")
        system.run(NO_KERNEL.format("b"))
    with switched_on(image, work) as system:
        system.shows("(?s)vmlinuz' not found.*Neither slot of this disk starts: write the image to "
                     "a[ \n]+new disk.*its[ \n]+peers")
        # It may have been a moment of the disk's: it is tried again and again.
        starts_again(system)


CASES = {
    "hung": ("a hung system starts again by its chipset's watchdog",
             hung_by("iTCO_wdt", extra=["-global", "ICH9-LPC.noreboot=false"])),
    "hung-softdog": ("a hung system without such hardware starts again by the kernel's watchdog",
                     hung_by("Software Watchdog", chipset="pc")),
    "crashed": ("a system whose kernel crashed starts again", crashed),
    "hung-services": ("a service that hangs is ended and started again, each of them", hung_services),
    "second-slot": ("a slot that does not start gives way to the other one", second_slot),
    "missing-kernel": ("a slot without a kernel gives way, and two of them say what to do",
                       missing_kernel),
}
