#!/usr/bin/python3
"""Makes the kernel announce that an AH SA reached its soft limit (XFRM_MSG_EXPIRE), as after 2^30
packets: a rekey now instead of in hours.

  expire.py DESTINATION SPI
"""

import ipaddress
import socket
import struct
import sys

NETLINK_XFRM, XFRM_MSG_EXPIRE, NLM_F_REQUEST, NLM_F_ACK = 6, 0x18, 1, 4

address = ipaddress.ip_address(sys.argv[1])
spi = int(sys.argv[2], 0)
family = socket.AF_INET if address.version == 4 else socket.AF_INET6

# struct xfrm_usersa_info: selector (56), id (24), saddr (16), lifetimes (96), stats (12), seq,
# reqid, family, mode, replay_window, flags; then `hard` of struct xfrm_user_expire.
info = bytes(56)
info += address.packed.ljust(16, b"\0") + struct.pack(">I", spi) + bytes([51, 0, 0, 0])
info += bytes(16 + 64 + 32 + 12)
info += struct.pack("=IIHBBB", 0, 0, family, 0, 0, 0) + bytes(7)
body = info + bytes(8)
message = struct.pack("=IHHII", 16 + len(body), XFRM_MSG_EXPIRE, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as netlink:
    netlink.bind((0, 0))
    netlink.send(message + body)
    reply = netlink.recv(65536)
    error = struct.unpack_from("=i", reply, 16)[0]
    if error:
        sys.exit(f"the kernel refused: {error}")
