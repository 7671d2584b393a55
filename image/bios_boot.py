#!/usr/bin/env python3
"""Writes GRUB's boot.img and core.img into a GPT disk image, as grub-install would.

The core goes to the BIOS boot partition, whose first sector is the constant below; three fields
are patched: where boot.img finds the core, where the core's first sector finds the rest, and the
jump that checks for a floppy.
"""

import struct
import sys

CORE_SECTOR = 2048
CORE_SECTORS_MAX = 2048
BOOT_CODE_SIZE = 440
KERNEL_SECTOR = 0x5C
DRIVE_CHECK = 0x66
# Last entry of the block list in diskboot.img: first sector, count, segment to load it at.
BLOCK_LIST = 512 - 12
LOAD_SEGMENT = 0x820


def main(disk: str, boot_path: str, core_path: str) -> None:
    with open(boot_path, "rb") as file:
        boot = bytearray(file.read())
    with open(core_path, "rb") as file:
        core = bytearray(file.read())
    core += b"\0" * (-len(core) % 512)
    sectors = len(core) // 512
    if sectors > CORE_SECTORS_MAX:
        sys.exit(f"bios_boot: core.img is {sectors} sectors, the partition {CORE_SECTORS_MAX}")
    struct.pack_into("<QHH", core, BLOCK_LIST, CORE_SECTOR + 1, sectors - 1, LOAD_SEGMENT)
    struct.pack_into("<Q", boot, KERNEL_SECTOR, CORE_SECTOR)
    boot[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    with open(disk, "r+b") as file:
        file.write(boot[:BOOT_CODE_SIZE])
        file.seek(CORE_SECTOR * 512)
        file.write(core)


if __name__ == "__main__":
    main(*sys.argv[1:])
