#!/usr/bin/env python3
"""Verifies AH integrity check values in a capture with scapy, not with our code or the kernel.

icv.py CAPTURE STATES: STATES is the text of `ip xfrm state` of the peers. Every AH packet of an SA
named there is checked (RFC 4302 section 3.3.3, 64-bit sequence numbers by section 2.5.1); one
wrong ICV, or none checked at all, exits 1.
"""

import hashlib
import hmac
import re
import sys

from scapy.all import AH, IP, IPv6, PcapReader, raw
from scapy.layers.ipsec import zero_mutable_fields


def associations(text):
    """(destination, SPI) -> (digest, key, truncation in octets, 64-bit numbers)."""
    found = {}
    for block in re.split(r"(?m)^(?=src )", text):
        head = re.search(r"src (\S+) dst (\S+)\s+proto ah spi (0x[0-9a-f]+)", block)
        auth = re.search(r"auth-trunc hmac\((sha\d+)\) 0x([0-9a-f]+) (\d+)", block)
        if head and auth:
            found[head[2], int(head[3], 16)] = (
                auth[1], bytes.fromhex(auth[2]), int(auth[3]) // 8,
                bool(re.search(r"flag .*\besn\b", block)))
    return found


def high_half(sequence, last):
    """The high half of a 64-bit number of which `sequence` came, after `last`, which it passes
    where the low half begins anew (RFC 4302 appendix B, for who saw every packet before)."""
    high, low = last >> 32, last & 0xFFFF_FFFF
    if low - sequence > 1 << 31:
        return high + 1
    return high - 1 if high and sequence - low > 1 << 31 else high


def verify(packet, association, high):
    digest, key, length, esn = association
    network = IPv6 if IPv6 in packet else IP
    clean = packet[network].copy()
    received, padding = clean[AH].icv[:length], clean[AH].icv[length:]
    zeroed = zero_mutable_fields(clean, sending=True)
    # On IPv6 the header is padded to 8 octets; the padding is arbitrary and covered by the ICV
    # (RFC 4302 section 2.6).
    zeroed[AH].icv = bytes(length) + padding
    data = raw(zeroed)
    if esn:
        data += high.to_bytes(4, "big")
    wanted = hmac.new(key, data, getattr(hashlib, digest)).digest()[:length]
    return hmac.compare_digest(received, wanted)


def main():
    known = associations(open(sys.argv[2], encoding="utf-8").read())
    right = wrong = unknown = 0
    last = {}
    for packet in PcapReader(sys.argv[1]):
        if AH not in packet:
            continue
        destination = packet[IPv6].dst if IPv6 in packet else packet[IP].dst
        sa = destination, packet[AH].spi
        association = known.get(sa)
        if association is None:
            unknown += 1
            continue
        high = high_half(packet[AH].seq, last.get(sa, 0))
        if verify(packet, association, high):
            right += 1
            last[sa] = max(last.get(sa, 0), high << 32 | packet[AH].seq)
        else:
            wrong += 1
    print(f"icv: {right} right, {wrong} wrong, {unknown} of SAs that are gone")
    sys.exit(0 if right > 0 and wrong == 0 else 1)


if __name__ == "__main__":
    main()
