#!/usr/bin/python3
"""Moves an AH SA's sequence number, as if it had lived for that many packets (XFRM_MSG_NEWAE).
Sender and receiver are to be moved alike, while nothing crosses.

  sequence.py DESTINATION SPI NUMBER out|in
"""

import ipaddress
import socket
import struct
import sys

NETLINK_XFRM, XFRM_MSG_NEWAE, XFRM_MSG_GETAE = 6, 0x1E, 0x1F
XFRMA_REPLAY_VAL, XFRMA_REPLAY_ESN_VAL = 10, 23
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE = 1, 4, 0x100

address = ipaddress.ip_address(sys.argv[1])
spi, number = int(sys.argv[2], 0), int(sys.argv[3], 0)
low, high = number & 0xFFFF_FFFF, number >> 32
family = socket.AF_INET if address.version == 4 else socket.AF_INET6

# struct xfrm_aevent_id: destination, SPI, family, protocol, then source, flags, reqid; zero is any.
name = address.packed.ljust(16, b"\0") + struct.pack(">I", spi) + struct.pack("=HBx", family, 51)
name += bytes(16 + 4 + 4)


def ask(netlink, kind, flags, body):
    netlink.send(struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
    reply = netlink.recv(65536)
    error = struct.unpack_from("=i", reply, 16)[0] if reply[4:6] == b"\2\0" else 0
    if error:
        sys.exit(f"the kernel refused: {error}")
    return reply


with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as netlink:
    netlink.bind((0, 0))
    reply = ask(netlink, XFRM_MSG_GETAE, 0, name)
    at, states = 16 + len(name), {}
    while at + 4 <= len(reply):
        length, kind = struct.unpack_from("=HH", reply, at)
        states[kind] = bytearray(reply[at + 4:at + length])
        at += (length + 3) & ~3
    if XFRMA_REPLAY_ESN_VAL in states:
        # bmp_len, then low halves of what was sent and received, high ones, the window, its bitmap.
        kind, state = XFRMA_REPLAY_ESN_VAL, states[XFRMA_REPLAY_ESN_VAL]
        for field, half in zip((4, 12) if sys.argv[4] == "out" else (8, 16), (low, high)):
            struct.pack_into("=I", state, field, half)
        state[24:] = bytes(len(state) - 24)
    else:
        # Sent, received, bitmap.
        kind, state = XFRMA_REPLAY_VAL, states[XFRMA_REPLAY_VAL]
        struct.pack_into("=I", state, 0 if sys.argv[4] == "out" else 4, low)
        struct.pack_into("=I", state, 8, 0)
    attribute = struct.pack("=HH", 4 + len(state), kind) + bytes(state)
    ask(netlink, XFRM_MSG_NEWAE, NLM_F_ACK | NLM_F_REPLACE, name + attribute)
