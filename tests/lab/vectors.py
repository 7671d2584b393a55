#!/usr/bin/python3
"""Vectors of one handshake that charon began: what it sent, received, computed and gave the kernel.

  vectors.py KEY CAPTURE LOG STATES     prints `NAME VALUE` lines; values are hexadecimal digits

LOG is the initiator's at level 4, STATES its `ip xfrm state` afterwards, of which source, SPI and key
of each SA are told.
"""

import re
import struct
import sys


# charon's words and ours, for what is kept of its log.
NAMES = {
    "key exchange secret": "shared", "shared Diffie Hellman secret": "shared",
    "Sk_d secret": "SK_d", "Sk_ei secret": "SK_ei", "Sk_er secret": "SK_er",
    "Sk_pi secret": "SK_pi", "Sk_pr secret": "SK_pr",
    "AUTH = prf(prf(secret, keypad), octets)": "AUTH",
    "derive keys using PPK": "PPK",
    "SKEYID": "SKEYID", "SKEYID_e": "SKEYID_e", "HASH_I": "HASH_I", "HASH_R": "HASH_R",
    "Hash(1)": "HASH(1)", "Hash(2)": "HASH(2)", "Hash(3)": "HASH(3)",
    "DH secret": "quick-mode-shared",
}


def datagrams(capture):
    """UDP port 500 payloads of a pcap file (Ethernet, little-endian, IPv4 without options)."""
    data = open(capture, "rb").read()
    at = 24
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16:at + 16 + length]
        at += 16 + length
        if frame[12:15] == b"\x08\0\x45" and frame[23] == 17 and frame[36:38] == b"\x01\xf4":
            yield frame[42:34 + int.from_bytes(frame[38:40], "big")]


def dumps(log):
    """What is dumped with a name: `NAME => N bytes @ ADDRESS`, then lines of 16 octets."""
    name, value, length = None, b"", 0
    for line in open(log, encoding="utf-8", errors="replace"):
        head = re.search(r"\[(?:IKE|CHD)\] (.*) => (\d+) bytes @", line)
        row = re.search(r"\[(?:IKE|CHD)\]\s+\d+: ((?:[0-9A-F]{2} )+)", line)
        if head:
            name, length, value = head[1], int(head[2]), b""
        elif row and name:
            value += bytes.fromhex(row[1])[:length - len(value)]
            if len(value) == length:
                yield name, value
                name = None


key, capture, log, states = sys.argv[1:]
print("# strongSwan on both ends; made by tests/lab/vectors.sh")
print("key", key.encode().hex())
for datagram in datagrams(capture):
    print("message", datagram.hex())
for name, value in dumps(log):
    if name in NAMES:
        print(NAMES[name], value.hex())
for source, spi, secret in re.findall(
        r"src (\S+) dst \S+\s+proto ah spi (0x\w+).*?auth-trunc \S+ 0x(\w+)",
        open(states, encoding="utf-8").read(), re.S):
    print("kernel", source, spi[2:], secret)
