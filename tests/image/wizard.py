#!/usr/bin/env python3
"""A first boot set up by a person on the serial console: UEFI, SATA disk, Intel network card.

    wizard.py IMAGE WORK

One wrong answer on the way, and a cluster whose other peer is not there, which is said at the end;
then HTTPS answers and root can log in. WORK/console.log is
what the person saw.
"""

import sys
from pathlib import Path

from boot import https_answers
from first_boot import free_port
from login import Console
from machine import Failed, Machine, attempted, said

ROOT_PASSWORD = "seven Quiet 5 turbines"
ADMIN_PASSWORD = "blue-Harbour-41-cello"
KEY = "vary-9umbrella-Kilo42-tidal-basin"
DIALOGUE = [
    (r"IP protocol[^:]*: $", "ipv5"),
    (r"Expected ipv4, ipv6 or both", None),
    (r"IP protocol[^:]*: $", "ipv4"),
    (r"IPv4 address by[^:]*: $", "dhcp"),
    (r"DNS servers[^:]*: $", ""),
    (r"Host name[^:]*: $", "wizard"),
    (r"Domain name[^:]*: $", "lab.test"),
    (r"NTP servers[^:]*: $", ""),
    (r"Time zone[^:]*: $", "Europe/Oslo"),
    (r"Password of admin[^:]*: $", ADMIN_PASSWORD),
    (r"The same[^:]*: $", ADMIN_PASSWORD),
    (r"Password of root[^:]*: $", ROOT_PASSWORD),
    (r"The same[^:]*: $", ROOT_PASSWORD),
    (r"SSH on[^:]*: $", "no"),
    (r"Set up a cluster[^:]*: $", "yes"),
    # The other one is not there.
    (r"Peer addresses[^:]*: $", "10.0.2.9 10.0.2.15"),
    (r"Cluster pre-shared key[^:]*: $", KEY),
    (r"\"apply\"[^:]*: $", "apply"),
]


def installed(image: str, work: Path):
    port = free_port()
    machine = Machine(image, work, firmware="uefi", disk="ahci", nic="e1000", https=port)
    try:
        console = Console(machine)
        console.expect("Tutti first-boot setup", 600)
        for prompt, answer in DIALOGUE:
            console.expect(prompt, 120)
            if answer is not None:
                console.type(answer + "\r")
        console.expect(r"Joining the cluster", 300)
        console.expect(r"MISSING +Peer 1: UDP 500 reachable: no answer", 300)
        console.type("\r")
        console.expect(r"Look again with: tutti prerequisites", 60)
        machine.wait("HTTPS answer", lambda: https_answers(port), 300)
        if console.log_in("root", ROOT_PASSWORD, 300):
            raise Failed("another password was asked for than the one that was typed")
        name = console.run("cat /proc/sys/kernel/hostname")
        if name != "wizard":
            raise Failed(f"the host name is {name!r}, not 'wizard'")
        if any(word in machine.console() for word in (ADMIN_PASSWORD, ROOT_PASSWORD, KEY)):
            raise Failed("a password was echoed")
    finally:
        machine.kill()


def main(image: str, work: str) -> int:
    try:
        attempted("wizard", installed, image, Path(work))
    except Failed as failure:
        print(f"wizard: {failure}\n{said(Path(work))[-3000:]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
