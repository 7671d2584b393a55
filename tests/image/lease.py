"""A DHCP server (RFC 2131) at the other end of a machine's only cable; its lease changes when told."""

import socket
import struct
import threading

MAC = bytes.fromhex("525400070001")
SERVER, MASK = (socket.inet_aton(a) for a in ("10.7.0.1", "255.255.255.0"))
SECONDS = 20
COOKIE = bytes.fromhex("63825363")
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
ETHERNET, BOOTP = "!6s6sH", "!4BIHH4s4s4s4s16s"


class Leases:
    """Frames travel as datagrams between the emulator and this socket."""

    def __init__(self, address: str):
        self.address = address
        self.given = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            self.machine = other.getsockname()
        threading.Thread(target=self.serve, daemon=True).start()

    def cable(self):
        """QEMU's options for a network card on this cable."""
        ends = (f"local.type=inet,local.host=127.0.0.1,local.port={self.machine[1]},"
                f"remote.type=inet,remote.host=127.0.0.1,remote.port={self.socket.getsockname()[1]}")
        return ["-netdev", f"dgram,id=lan,{ends}", "-device", "virtio-net-pci,netdev=lan"]

    def serve(self):
        while True:
            frame = self.socket.recv(65536)
            kind, = struct.unpack_from("!H", frame, 12)
            answer = None
            if kind == 0x0806:
                answer = self.arp(frame)
            elif kind == 0x0800 and frame[23] == 17 and frame[36:38] == struct.pack("!H", 67):
                answer = self.dhcp(frame)
            if answer:
                self.socket.sendto(answer, self.machine)

    def arp(self, frame):
        head, asking, wanted = frame[14:22], frame[22:32], frame[38:42]
        if head[7] != 1 or wanted != SERVER:
            return None
        return (struct.pack(ETHERNET, frame[6:12], MAC, 0x0806) + head[:7] + b"\2" + MAC + SERVER
                + asking)

    def dhcp(self, frame):
        said = frame[14 + 20 + 8:]
        _, _, _, _, number, _, _, own, _, _, _, card = struct.unpack_from(BOOTP, said)
        options, at = {}, said.index(COOKIE) + 4
        while said[at] != 255:
            if said[at] == 0:
                at += 1
                continue
            options[said[at]] = said[at + 2:at + 2 + said[at + 1]]
            at += 2 + said[at + 1]
        wanted = options.get(50, own)
        address = socket.inet_aton(self.address)
        kind = options[53][0]
        if kind == DISCOVER:
            return self.answer(number, card, OFFER, address)
        if kind == REQUEST and wanted != address:
            return self.answer(number, card, NAK, bytes(4))
        if kind == REQUEST:
            self.given.append(self.address)
            return self.answer(number, card, ACK, address)
        return None

    @staticmethod
    def answer(number, card, kind, address):
        options = [(53, bytes([kind])), (54, SERVER)]
        if kind != NAK:
            options += [(51, struct.pack("!I", SECONDS)), (1, MASK), (3, SERVER)]
        boot = struct.pack(BOOTP, 2, 1, 6, 0, number, 0, 0x8000, bytes(4), address, SERVER, bytes(4),
                           card) + bytes(192) + COOKIE
        boot += b"".join(bytes([code, len(value)]) + value for code, value in options) + b"\xff"
        udp = struct.pack("!4H", 67, 68, 8 + len(boot), 0) + boot
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, SERVER, b"\xff" * 4)
        total = sum(struct.unpack("!10H", ip))
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        ip = ip[:10] + struct.pack("!H", total ^ 0xffff) + ip[12:]
        return struct.pack(ETHERNET, b"\xff" * 6, MAC, 0x0800) + ip + udp
