#!/usr/bin/env python3
"""Prints which ports of an address are open: of TCP each that answers, of UDP (as `udp:53`) each
that answers or of which it is said that nothing is there: the firewall lets that one through.

    ports.py ADDRESS
"""

import errno
import resource
import select
import socket
import sys
import time

AT_ONCE, PATIENCE_S = 8000, 4
PORTS = range(1, 65_536)
# So many datagrams a second: a slow machine drops none for want of room.
PACE = 3000
IP_RECVERR, IPV6_RECVERR = 11, 25
# What servers of these ports answer to: a name asked for, the time, an agent's first object, a
# service searched for, a key exchange begun.
DNS = bytes.fromhex("000101000001000000000000") + b"\x07version\x04bind\0\0\x10\0\x03"
ASKED = {
    53: DNS, 5353: DNS, 5355: DNS,
    123: b"\x23" + bytes(47),
    161: bytes.fromhex("302602010104067075626c6963a019020101020100020100300e300c06082b060102010101000500"),
    500: bytes.fromhex("0102030405060708000000000000000021202208000000000000001c"),
    1900: b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n",
}


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connected(one):
    """Whether a connection stands, and not with itself, as one to an own port may."""
    try:
        return one.getpeername() != one.getsockname()
    except OSError:
        return False


def batch(address, ports):
    """Those of these ports to which a connection stands within the patience after the last try."""
    waiting, found, poll = {}, [], select.epoll()
    for port in ports:
        one = socket.socket(family(address), socket.SOCK_STREAM)
        one.setblocking(False)
        if one.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
            one.close()
            continue
        waiting[one.fileno()] = port, one
        poll.register(one, select.EPOLLOUT)
    end = time.monotonic() + PATIENCE_S
    while waiting and (ready := poll.poll(max(0, end - time.monotonic()))):
        for number, _ in ready:
            port, one = waiting.pop(number)
            if connected(one):
                found.append(port)
            poll.unregister(one)
            one.close()
    for _, one in waiting.values():
        one.close()
    poll.close()
    return found


def tcp(address):
    # A connection that could not even be tried would look like a closed port.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    at_once = AT_ONCE if limit == resource.RLIM_INFINITY else min(AT_ONCE, limit - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (at_once + 100, limit))
    batches = (batch(address, PORTS[at:at + at_once]) for at in range(0, len(PORTS), at_once))
    return sorted(port for found in batches for port in found)


def heard(probe, found):
    """Takes what came back: answers, and errors that name the port they are of."""
    while True:
        try:
            found.add(probe.recvfrom(65_536)[1][1])
            continue
        except BlockingIOError:
            pass
        except OSError:
            continue  # an error of an earlier datagram, which the queue below has
        try:
            _, ancillary, _, there = probe.recvmsg(65_536, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return
        code = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        if code == errno.ECONNREFUSED:
            found.add(there[1])


def udp(address):
    found = set()
    with socket.socket(family(address), socket.SOCK_DGRAM) as probe:
        if family(address) == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            probe.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        probe.setblocking(False)
        began = time.monotonic()
        for sent, port in enumerate(PORTS):
            while sent > (time.monotonic() - began) * PACE:
                time.sleep(0.01)
                heard(probe, found)
            while True:
                try:
                    probe.sendto(ASKED.get(port, b"\0" * 8), (address, port))
                    break
                except BlockingIOError:
                    select.select([], [probe], [], 1)
                except OSError:
                    heard(probe, found)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            time.sleep(0.1)
            heard(probe, found)
    return sorted(found)


def main(address):
    print(*tcp(address), *(f"udp:{port}" for port in udp(address)))


if __name__ == "__main__":
    main(sys.argv[1])
