"""What is spoken on the control sockets, as far as laboratories need it: postcard's numbers and
addresses, and a length before each message."""

import ipaddress
import struct


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def address(text):
    parsed = ipaddress.ip_address(text)
    return varint(parsed.version == 6) + parsed.packed


def send(stream, body):
    stream.sendall(struct.pack(">I", len(body)) + body)
