"""A machine as others on its network see it: its ports, and IPv6."""

import re

from net import Segment
from system import LIMIT_S, setup_file, switched_on

ADDRESS, ADDRESS6 = "10.7.0.11", "2001:db8:7::11"
BOTH = (f'[ipv4.static]\naddress = "{ADDRESS}"\nprefix = 24\n'
        f'[ipv6.static]\naddress = "{ADDRESS6}"\nprefix = 64')
ONLY6 = f'[ipv6.static]\naddress = "{ADDRESS6}"\nprefix = 64\ngateway = "2001:db8:7::1"'
# What the manual says is open, SSH being off, and what listens beside it: DHCP's client is asked
# by nobody but its server, and by IKE no stranger is answered.
OPEN = {"80", "443"}
LISTENING = {"tcp 80", "tcp 443", "udp 500"}


def listening(system):
    """Protocol and port of each socket that is open to other machines."""
    found = set()
    for line in system.run("ss -Hlntu").splitlines():
        protocol, _, _, _, place = line.split()[:5]
        address, port = place.rsplit(":", 1)
        if not re.match(r"127\.|\[::1\]", address):
            found.add(f"{protocol} {port}")
    return found


def ports(image, work):
    file = setup_file(work, protocol='"both"', ipv4=None, tables=BOTH)
    with Segment() as segment, switched_on(image, work, credential=file, nic=None, inside=segment.name,
                                           extra=segment.cable()) as system:
        system.log_in()
        system.machine.wait("HTTPS answer", lambda: segment.https(ADDRESS), LIMIT_S)
        for address in (ADDRESS, ADDRESS6):
            assert segment.https(address), f"no HTTPS at {address}"
            found = segment.open_ports(address)
            assert found == OPEN, f"{address}: {sorted(found)}"
        assert listening(system) == LISTENING, listening(system)
        # With SSH on one more; and were the firewall open for something, this would see it.
        assert "Saved and in use" in system.run("tutti settings set ssh=true")
        system.expect("ss -Hltn 'sport = :22' | grep -q . && echo on", "on")
        system.run("nft insert rule inet tutti input udp dport 4999 accept")
        found = segment.open_ports(ADDRESS6)
        assert found == {*OPEN, "22", "udp:4999"}, sorted(found)
        assert listening(system) == {*LISTENING, "tcp 22"}, listening(system)
        # Who only looks whether a port is open is no client of SSH's.
        system.sound(r"sshd-session\[\d+\]: error: kex_exchange_identification")


def only_ipv6(image, work):
    file = setup_file(work, protocol='"ipv6"', ipv4=None, tables=ONLY6)
    with Segment() as segment, switched_on(image, work, credential=file, nic=None, inside=segment.name,
                                           extra=segment.cable()) as system:
        system.shows(re.escape(f"https://[{ADDRESS6}]/"))
        system.log_in()
        system.machine.wait("HTTPS answer", lambda: segment.https(ADDRESS6), LIMIT_S)
        addresses = "ip -brief address show dev eth0 scope global | tr -s ' ' '\\n' | grep /"
        assert system.run(addresses) == f"{ADDRESS6}/64", "another address"
        for name in ("all", "default", "eth0"):
            kept = system.run(f"cat /proc/sys/net/ipv6/conf/{name}/use_tempaddr")
            assert int(kept) <= 0, f"temporary addresses of {name}: {kept}"
        gateway = system.run("ip -6 route show default | cut -d ' ' -f 1-5")
        assert gateway == "default via 2001:db8:7::1 dev eth0", gateway
        status = system.run("tutti status --json")
        assert ADDRESS6 in status and "10.7." not in status, status
        system.sound()


CASES = {
    "ports": ("seen from outside only the documented ports are open, of TCP and UDP, by IPv4 and IPv6",
              ports),
    "only-ipv6": ("a system of IPv6 alone answers there, and has no temporary address", only_ipv6),
}
