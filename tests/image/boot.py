#!/usr/bin/env python3
"""Boots the image once and waits for a line on its console, or for HTTPS to answer.

    boot.py IMAGE [--firmware bios|uefi|secure] [--disk virtio|scsi|pvscsi|ahci|nvme|usb]
            [--credential setup.toml] [--until REGEX | --https PORT] [--keep]
"""

import argparse
import asyncio
import ssl
import sys
from pathlib import Path

from machine import DISKS, Failed, Machine, kvm_works, scratch


CLIENT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CLIENT.check_hostname = False
CLIENT.verify_mode = ssl.CERT_NONE  # the appliance's certificate is its own


async def answers(port: int, host: str) -> bool:
    """One try: whether something behind the port completes TLS and answers HTTP."""
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=CLIENT)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: tutti\r\nConnection: close\r\n\r\n")
            return (await reader.read(16)).startswith(b"HTTP/1.1 ")
        finally:
            writer.transport.abort()
    except OSError:
        return False


async def first_answer(port: int, host: str) -> bool:
    """Tries for ten seconds. QEMU takes a connection before the guest is there and repeats its SYN
    only seconds later, so that one try alone may see the answer long after it could be had."""
    tries = set()
    try:
        for _ in range(20):
            tries.add(asyncio.create_task(answers(port, host)))
            done, tries = await asyncio.wait(tries, timeout=0.5,
                                             return_when=asyncio.FIRST_COMPLETED)
            if any(one.result() for one in done):
                return True
            if done:
                await asyncio.sleep(0.2)
        return False
    finally:
        for one in tries:
            one.cancel()


def https_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether an appliance answers HTTPS there now or in the next seconds."""
    return asyncio.run(first_answer(port, host))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--firmware", choices=["bios", "uefi", "secure"], default="bios")
    parser.add_argument("--disk", choices=sorted(DISKS), default="virtio")
    parser.add_argument("--nic", default="virtio-net-pci")
    parser.add_argument("--credential", type=Path, help="an unattended set-up file")
    parser.add_argument("--until", default=r"login: ", help="a regular expression")
    parser.add_argument("--https", type=int, metavar="PORT", help="wait for HTTPS, forwarded here")
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("--accel", choices=["kvm", "tcg"])
    parser.add_argument("--work", type=Path, help="where console.log and the overlay go")
    parser.add_argument("--disk-size", help="a larger disk than the image, e.g. 8G")
    options = parser.parse_args()

    accel = options.accel
    if accel is None:
        kernel = options.image.resolve().parent / "image/boot/vmlinuz"
        accel = "kvm" if kvm_works(kernel) else "tcg"
    machine = Machine(options.image, options.work or scratch(), firmware=options.firmware,
                      disk=options.disk, nic=options.nic, credential=options.credential,
                      https=options.https, accel=accel, disk_size=options.disk_size)
    name = f"{options.firmware}, {options.disk}, {accel}"
    try:
        if options.https:
            _, seconds = machine.wait("HTTPS answer", lambda: https_answers(options.https),
                                      options.timeout)
        else:
            _, seconds = machine.wait_console(options.until, options.timeout)
    except Failed as failure:
        print(f"boot: FAILED ({name}): {failure}\nboot: all of it in {machine.log}", file=sys.stderr)
        return 1
    finally:
        machine.kill()
    print(f"boot: passed ({name}) after {seconds:.1f} s, console in {machine.log}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
