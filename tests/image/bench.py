#!/usr/bin/env python3
"""Boot times and memory of the image, one `name: value` a line.

    bench.py IMAGE WORK

`boot_s_*` is from power-on to HTTPS of a system that is set up, `first_boot_s_*` of a first boot
with a set-up file (which prepares the disk and hashes passwords); `boot_s_three` is until the last
of three that are switched on at once.
"""

import shutil
import sys
import time
from pathlib import Path

import machine
from boot import https_answers
from first_boot import free_port
from machine import Machine
from system import LIMIT_S, SETUP, switched_on


def seconds(one, port):
    return one.wait("HTTPS answer", lambda: https_answers(port), LIMIT_S)[1]


def boots(image, work, firmware):
    with switched_on(image, work, firmware=firmware, credential=SETUP) as system:
        print(f"first_boot_s_{firmware}: {seconds(system.machine, system.port):.0f}", flush=True)
        system.log_in()
        system.sound()
        system.run("sync")
    with switched_on(image, work, firmware=firmware) as system:
        print(f"boot_s_{firmware}: {seconds(system.machine, system.port):.0f}", flush=True)
        if firmware != "bios":
            return
        system.log_in()
        system.expect("systemctl is-system-running", "running")
        time.sleep(30)
        used = system.run("free -m | awk '/^Mem:/ {print $3}'")
        print(f"idle_mem_mb: {used}", flush=True)
        system.run("sync")


def three(image, work, disk):
    machine.AT_ONCE = 3
    machines = []
    try:
        for number in range(3):
            own = work / str(number)
            own.mkdir(parents=True)
            shutil.copy(disk, own / "disk.qcow2")
        began = time.monotonic()
        for number in range(3):
            port = free_port()
            machines.append((Machine(image, work / str(number), https=port), port))
        for each, port in machines:
            seconds(each, port)
        print(f"boot_s_three: {time.monotonic() - began:.0f}", flush=True)
    finally:
        for each, _ in machines:
            each.kill()


def main() -> int:
    image, work = Path(sys.argv[1]), Path(sys.argv[2])
    for firmware in ("bios", "uefi"):
        boots(image, work / firmware, firmware)
    three(image, work / "three", work / "bios/disk.qcow2")
    return 0


if __name__ == "__main__":
    sys.exit(main())
