#!/usr/bin/python3
"""Speaks to `tutti keyer` as `tutti ike` would: length, then postcard. Prints each reply.

  keyer.py SOCKET reload
  keyer.py SOCKET install PEER SPI in|out KEYHEX
  keyer.py SOCKET retain [SPI...]
"""

import socket
import struct
import sys

from postcard import address, send, varint


def request(words):
    match words:
        case ["reload"]:
            return varint(0)
        case ["install", peer, spi, way, key]:
            key = bytes.fromhex(key)
            return (varint(1) + address(peer) + varint(int(spi, 0)) + bytes([way == "in"])
                    + varint(0) + varint(len(key)) + key + b"\x01")
        case ["retain", *spis]:
            return varint(4) + varint(len(spis)) + b"".join(varint(int(spi, 0)) for spi in spis)
    sys.exit(__doc__)


def exactly(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            sys.exit("keyer closed the connection")
        data += piece
    return data


with socket.socket(socket.AF_UNIX) as stream:
    stream.connect(sys.argv[1])
    send(stream, request(sys.argv[2:]))
    # Unasked events (3 and 4) may come in between.
    while True:
        reply = exactly(stream, struct.unpack(">I", exactly(stream, 4))[0])
        if reply[0] < 3:
            break
    if reply[0] == 0:
        print("done")
    else:
        print("failed:", reply[2:].decode(errors="replace"))
        sys.exit(1)
