#!/usr/bin/env python3
"""An unattended first boot, looked at from both sides: HTTPS from the network, and a root login
on the serial console, which asks for another password and checks what a first boot must have done;
then a second boot, where that password counts. The first ends by `tutti reboot`, the second by
`tutti shutdown`: the emulator ends with the machine.

    first_boot.py IMAGE WORK
"""

import socket
import sys
from pathlib import Path

from boot import https_answers
from login import Console, changed
from machine import Failed, Machine, attempted, said

HERE = Path(__file__).resolve().parent
PASSWORD = "seven Quiet 5 turbines"
TIMEOUT_S = 600

# What must hold inside: a name, a command, and what its output must be.
CHECKS = [
    ("no unit failed", "systemctl --failed --plain --no-legend", ""),
    ("the root is verity", "dmsetup status tutti-root | cut -d ' ' -f 4", "V"),
    ("the root is read-only", "touch /x 2>/dev/null || echo refused", "refused"),
    ("data grew", "test $(df -m --output=size /data | tail -n 1) -gt 3000 && echo yes", "yes"),
    ("the slot is marked good", "for i in $(seq 60); do grub-editenv /efi/grub/grubenv list | "
     "grep -x A_TRY=0 && break; sleep 2; done", "A_TRY=0"),
    ("IPsec modules", "for m in ah4 ah6 xfrm_user; do grep -c \"^$m \" /proc/modules; done | "
     "tr '\\n' ' '", "1 1 1"),
    ("firewall drops by default", "nft list chain inet tutti input | grep -c 'policy drop'", "1"),
    ("host name", "cat /proc/sys/kernel/hostname", "image-test"),
    ("no GUID of the image, of the disk or a partition", "sfdisk --dump $(readlink -f /dev/tutti/esp | "
     "sed 's/[0-9]*$//') | grep -ci 7457cd01", "0"),
    ("no UUID of the image", "dumpe2fs -h /dev/tutti/data 2>/dev/null | grep 'system UUID' | grep -vc 7457cd01",
     "1"),
    ("the ESP's serial number is twice the same", "for at in 67 3139; do od -An -tx4 -j $at -N 4 /dev/tutti/esp; "
     "done | uniq | wc -l", "1"),
    ("the version names the build", "tutti --version | grep -cF \"($(sed -n 's/^build = \"\\(.*\\)\"/\\1/p' "
     "/usr/share/tutti/release))\"", "1"),
    ("log lines of every role have their fields", "for u in host ike keyer serve; do journalctl -b -q "
     "-u tutti-$u _TRANSPORT=journal PRIORITY=6 -o json --output-fields=TUTTI_MODULE | "
     "grep -qF '\"TUTTI_MODULE\":\"tutti::' && echo $u; done | tr '\\n' ' '", "host ike keyer serve"),
    ("no role logs text", "for u in host ike keyer serve; do journalctl -b -q -u tutti-$u _COMM=tutti "
     "_TRANSPORT=stdout -o cat; done", ""),
    ("only admin has a first password yet", "for i in $(seq 60); do "
     "grep -qx ' . A first password was not changed yet: admin' /etc/issue && echo yes && break; sleep 2; "
     "done", "yes"),
    ("SSH is off", "ss -Hltn 'sport = :22' | wc -l", "0"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def shipped_serial(image: str) -> str:
    """The ESP's serial number in the image, where it lies behind the BIOS boot partition."""
    with open(image, "rb") as disk:
        disk.seek((2 << 20) + 67)
        return disk.read(4)[::-1].hex()


def boots(image: str, work: Path) -> list[str]:
    """Both boots; what was not as it must be."""
    port = free_port()
    problems = []
    for boot, act, reason in (("first", "reboot", "guest-reset"),
                              ("second", "shutdown", "guest-shutdown")):
        # The second boot has no credential any more: what was said once is kept.
        machine = Machine(image, work, https=port, disk_size="6G", extra=["-no-reboot"],
                          credential=HERE / "setup.toml" if boot == "first" else None)
        try:
            _, seconds = machine.wait("HTTPS answer", lambda: https_answers(port), TIMEOUT_S)
            print(f"{boot} boot: HTTPS after {seconds:.1f} s", flush=True)
            if boot == "first":
                machine.wait_console("not changed yet: admin, root\n", TIMEOUT_S)
            # Only now: the emulator's line stands still while who is connected does not read.
            console = Console(machine)
            password = PASSWORD if boot == "first" else changed(PASSWORD)
            asked = console.log_in("root", password, TIMEOUT_S)
            if asked != (boot == "first"):
                problems.append(f"{boot} boot: another root password was {'' if asked else 'not '}"
                                "asked for")
            serial = console.run("od -An -tx4 -j 67 -N 4 /dev/tutti/esp")
            if serial == shipped_serial(image):
                problems.append(f"{boot} boot: the ESP has the serial number of the image: {serial}")
            for name, command, expected in CHECKS:
                said = console.run(command)
                if said != expected:
                    problems.append(f"{boot} boot: {name}: expected '{expected}', got '{said}'")
            ended = machine.ends(lambda: console.type(f"tutti {act} --yes\r"), TIMEOUT_S)
            if ended != reason:
                problems.append(f"{boot} boot: tutti {act} ended by {ended}")
        finally:
            machine.kill()
    return problems


def main(image: str, work: str) -> int:
    try:
        problems = attempted("first boot", boots, image, Path(work))
    except Failed as failure:
        problems = [str(failure), said(Path(work))[-4000:]]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
