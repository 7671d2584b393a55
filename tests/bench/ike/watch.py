#!/usr/bin/python3
"""Times handshakes from outside: UDP 500 on a bridge and the kernel's SAs in two namespaces each.

  watch.py BRIDGE NAME=NETNS:ADDRESS,NETNS:ADDRESS ...   until SIGTERM

Prints one line for each whole handshake: NAME START WIRE_MS WHOLE_MS. START is CLOCK_MONOTONIC;
WIRE_MS is from its first message to its last; WHOLE_MS until both kernels hold the AH pair, if
that is later.
"""

import os
import select
import signal
import socket
import struct
import sys
import time

NETLINK_XFRM, XFRMGRP_SA = 6, 4
NEWSA, UPDSA = 0x10, 0x1A
# Main and quick mode; IKE_SA_INIT, IKE_AUTH, IKE_INTERMEDIATE.
HANDSHAKE = {2, 32, 34, 35, 43}


def monitor(name):
    """The SA notifications of one network namespace."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    os.setns(there, os.CLONE_NEWNET)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
    netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    netlink.bind((0, XFRMGRP_SA))
    os.setns(before, os.CLONE_NEWNET)
    os.close(before)
    os.close(there)
    return netlink


class Pair:
    """Two hosts and the handshake that is under way between them."""

    def __init__(self, name):
        self.name, self.spi, self.sas = name, None, {}

    def packet(self, now, ike):
        spi, responder, exchange = ike[:8], ike[8:16], ike[18]
        if exchange not in HANDSHAKE:
            return
        if spi != self.spi:
            if any(responder):
                return
            self.finish()
            self.spi, self.start, self.sas = spi, now, {}
        self.wire = now

    def sa(self, now, host):
        self.sas.setdefault(host, []).append(now)

    def finish(self):
        """Whole when each kernel got both directions."""
        times = [times[:2] for times in self.sas.values() if len(times) >= 2]
        if self.spi and len(times) == 2:
            end = max(self.wire, *(time for both in times for time in both))
            wire, whole = (self.wire - self.start) * 1e3, (end - self.start) * 1e3
            print(self.name, f"{self.start:.6f} {wire:.3f} {whole:.3f}", flush=True)
        self.spi = None


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bridge = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    bridge.bind((sys.argv[1], 0))
    by_address, sources, pairs = {}, {bridge: None}, []
    for argument in sys.argv[2:]:
        name, hosts = argument.split("=")
        pairs.append(Pair(name))
        for host in hosts.split(","):
            host, address = host.split(":")
            by_address[socket.inet_aton(address)] = pairs[-1]
            sources[monitor(host)] = (pairs[-1], host)
    print("watching", flush=True)
    try:
        while True:
            for ready in select.select(list(sources), [], [])[0]:
                data, now = ready.recv(65536), time.monotonic()
                if sources[ready]:
                    pair, host = sources[ready]
                    if struct.unpack_from("=IH", data)[1] in (NEWSA, UPDSA):
                        pair.sa(now, host)
                    continue
                # Ethernet, IPv4 without options, UDP.
                pair = by_address.get(data[26:30])
                if pair and data[12:14] == b"\x08\0" and data[23] == 17 and data[36:38] == b"\x01\xf4":
                    pair.packet(now, data[42:])
    finally:
        for pair in pairs:
            pair.finish()


main()
