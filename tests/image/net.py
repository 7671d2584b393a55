"""A network of its own, on which a machine is seen from outside."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS, OURS6 = "10.7.0.1", "2001:db8:7::1"


class Segment:
    """A network namespace with one cable: 10.7.0.0/24 and 2001:db8:7::/64, this end being .1."""

    def __init__(self):
        self.name = f"tutti-matrix-{os.getpid()}-{id(self):x}"

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for words in ("link set lo up", "tuntap add tap0 mode tap", f"addr add {OURS}/24 dev tap0",
                      f"addr add {OURS6}/64 dev tap0 nodad", "link set tap0 up"):
            self.run("ip", *words.split())
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def cable(self):
        """QEMU's options for a network card on this cable."""
        return ["-netdev", "tap,id=lan,ifname=tap0,script=no,downscript=no",
                "-device", "virtio-net-pci,netdev=lan"]

    def run(self, *command, limit_s=900) -> str:
        """What a command on this network prints."""
        done = subprocess.run(["ip", "netns", "exec", self.name, *command], check=True,
                              stdout=subprocess.PIPE, text=True, timeout=limit_s)
        return done.stdout.strip()

    def open_ports(self, address) -> set:
        """See ports.py."""
        return set(self.run(sys.executable, str(HERE / "ports.py"), address).split())

    def https(self, host) -> bool:
        """Whether HTTPS answers there."""
        words = (f"import sys; sys.path.insert(0, {str(HERE)!r}); from boot import https_answers; "
                 f"print(https_answers(443, {host!r}))")
        return self.run(sys.executable, "-c", words) == "True"
