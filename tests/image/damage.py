"""Damage on the data partition that is repaired at the next start, and said."""

import subprocess

from faults import DATA
from system import SETUP, switched_on

# Where the inodes of the first block group lie in the shipped image, behind four of them, in KiB
# (dumpe2fs: "Inode table at 292-803"); the journal's is among them.
INODES = DATA * 1024 + 293


def damaged_inodes(image, work):
    with switched_on(image, work, credential=SETUP) as system:
        system.answers()
        system.log_in()
        system.run("sync")
    subprocess.run(["qemu-io", "-c", f"write -P 0xa5 {INODES}k 64k", str(work / "disk.qcow2")],
                   check=True, capture_output=True)
    with switched_on(image, work) as system:
        system.shows("Tutti: The data partition was damaged. It was repaired at this start")
        # Whether the settings were among what was lost or not.
        system.shows(r"(?s)! The data partition was damaged.*(IP protocol|login: )")


CASES = {
    "damaged-inodes": ("a data partition that had to be repaired is named", damaged_inodes),
}
