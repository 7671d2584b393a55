"""The network of a running system changes: kept if somebody confirms, else put back by itself."""

import os
import socket
import subprocess

from first_boot import free_port
from login import Console, changed
from machine import Failed
from system import LIMIT_S, ROOT_PASSWORD, SETUP, switched_on

# The address that QEMU's network leases, and a free one there.
LEASED, FIXED = "10.0.2.15", "10.0.2.16"


def tagged(system, wanted):
    """The number of the VLAN that carries the address, or none."""
    system.expect("sed -n 's/.*VID: \\([0-9]*\\).*/\\1/p' /proc/net/vlan/vlan0 2>/dev/null", wanted)


def leased(system):
    """Back on the untagged network, whose DHCP server answers."""
    tagged(system, "")
    system.expect("ip -4 -brief address show dev eth0 | awk '{print $3}'", f"{LEASED}/24")
    system.answers()


def change(system, settings):
    """Changes settings on trial. The service follows its addresses and is never away."""
    said = system.run(f"tutti settings set {settings}")
    assert "unless confirmed: tutti settings confirm" in said, said


def changed_vlan(image, work):
    static = '\'{"static": {"address": "10.7.0.11", "prefix": 24}}\''
    process = "systemctl show -P MainPID tutti-serve"
    with switched_on(image, work, credential=SETUP) as system:
        system.answers()
        system.log_in()
        before = system.run(process)
        change(system, f"interface=eth0 vlan=12 ipv4={static}")
        tagged(system, "12")
        system.expect("ip -4 -brief address show dev vlan0 | awk '{print $3}'", "10.7.0.11/24")
        system.expect("ip -4 -brief address show dev eth0 | awk '{print $3}'", "")
        # Nobody confirms.
        leased(system)
        change(system, f"interface=eth0 vlan=12 ipv4={static}")
        assert system.run("tutti settings confirm") == "Kept."
        change(system, "vlan=13")
        tagged(system, "13")
        assert system.run("tutti settings confirm") == "Kept."
        change(system, "vlan= ipv4=dhcp")
        assert system.run("tutti settings confirm") == "Kept."
        leased(system)
        assert system.run(process) == before, "the service was restarted"
        system.expect("ls -d /sys/class/net/vlan0 2>/dev/null", "")
        system.sound()


class Shell(Console):
    """A person at another computer, logged in through SSH with root's new password."""

    def __init__(self, machine, port, work):
        helper = work / "askpass"
        helper.write_text(f"#!/bin/sh\necho '{changed(ROOT_PASSWORD)}'\n")
        helper.chmod(0o700)
        ours, its = socket.socketpair()
        self.process = subprocess.Popen(
            ["ssh", "-tt", "-p", str(port), "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
             "-o", "NumberOfPasswordPrompts=1", "root@127.0.0.1"],
            stdin=its, stdout=its, stderr=its,
            env={**os.environ, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"})
        its.close()
        super().__init__(machine, ours)

    def log_in(self):
        self.expect("# ", 120)
        self.type("stty -echo; PS1=; export TERM=dumb SYSTEMD_COLORS=0\r")
        self.run("true")

    def end(self):
        self.process.kill()
        self.process.wait()


def shell(system, port, work):
    """Logs in through SSH, which may not be there yet."""
    def attempt():
        one = Shell(system.machine, port, work)
        try:
            one.log_in()
            return one
        # What `expect` and a closed socket say of a server that is not there.
        except (Failed, OSError):
            one.end()
            return None
    return system.machine.wait("login through SSH", attempt, LIMIT_S)[0]


def moved_by_wizard(image, work):
    old, new = free_port(), free_port()
    ways = [(old, f"{LEASED}:22"), (new, f"{FIXED}:22")]
    answers = [(r"IP protocol[^:]*: $", ""), (r"IPv4 address by[^:]*: $", "static"),
               (r"IPv4 address[^:]*: $", FIXED), (r"prefix length[^:]*: $", "24"),
               (r"IPv4 gateway[^:]*: $", "10.0.2.2"), (r"DNS servers[^:]*: $", ""),
               (r"Host name[^:]*: $", ""), (r"Domain name[^:]*: $", ""),
               (r"NTP servers[^:]*: $", ""), (r"Time zone[^:]*: $", ""),
               (r"SSH on[^:]*: $", ""), (r"\"apply\"[^:]*: $", "apply")]

    def move():
        there = shell(system, old, work)
        there.type("tutti setup --again\r")
        for prompt, answer in answers:
            there.expect(prompt, 120)
            there.type(answer + "\r")
        there.expect(r"tutti setup --confirm\s+within 60 seconds", 120)
        there.end()
        system.expect("ip -4 -brief address show dev eth0 | awk '{print $3}'", f"{FIXED}/24")

    with switched_on(image, work, credential=SETUP, ways=ways) as system:
        system.answers()
        system.log_in()
        assert "Saved and in use" in system.run("tutti settings set ssh=true")
        move()
        # Nobody comes to the new address.
        leased(system)
        move()
        there = shell(system, new, work)
        there.type("tutti setup --confirm\r")
        there.expect("The new settings stay", 120)
        there.end()
        # For good: longer than a trial lasts, and over a restart.
        system.run("sleep 70")
        assert system.run("ip -4 -brief address show dev eth0 | awk '{print $3}'") == f"{FIXED}/24"
        system.sound()
        system.run("sync")
    with switched_on(image, work, ways=ways) as system:
        shell(system, new, work).end()


CASES = {
    "changed-vlan": ("a VLAN is taken up, changed and left; unconfirmed, the network is put back",
                     changed_vlan),
    "moved-by-wizard": ("the wizard through SSH moves the system, which moves back unless confirmed",
                        moved_by_wizard),
}
