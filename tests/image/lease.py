"""A DHCP server at the other end of a machine's only cable, whose lease changes when told so."""

import socket
import threading

from scapy.all import ARP, BOOTP, DHCP, IP, UDP, Ether

SERVER, MASK, MAC = "10.7.0.1", "255.255.255.0", "52:54:00:07:00:01"
SECONDS = 20


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
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def cable(self):
        """QEMU's options for a network card on this cable."""
        ends = (f"local.type=inet,local.host=127.0.0.1,local.port={self.machine[1]},"
                f"remote.type=inet,remote.host=127.0.0.1,remote.port={self.socket.getsockname()[1]}")
        return ["-netdev", f"dgram,id=lan,{ends}", "-device", "virtio-net-pci,netdev=lan"]

    def serve(self):
        while True:
            frame = Ether(self.socket.recv(65536))
            answer = self.arp(frame) if ARP in frame else self.dhcp(frame) if DHCP in frame else None
            if answer:
                self.socket.sendto(bytes(answer), self.machine)

    def arp(self, frame):
        asked = frame[ARP]
        if asked.op != 1 or asked.pdst != SERVER:
            return None
        return Ether(src=MAC, dst=frame.src) / ARP(op=2, hwsrc=MAC, psrc=SERVER, hwdst=asked.hwsrc,
                                                   pdst=asked.psrc)

    def dhcp(self, frame):
        said = {option[0]: option[1] for option in frame[DHCP].options if isinstance(option, tuple)}
        kind = said.get("message-type")
        wanted = said.get("requested_addr") or frame[BOOTP].ciaddr
        if kind == 1:
            return self.answer(frame, "offer")
        if kind == 3 and wanted != self.address:
            return self.answer(frame, "nak")
        if kind == 3:
            self.given.append(self.address)
            return self.answer(frame, "ack")
        return None

    def answer(self, frame, kind):
        options = [("message-type", kind), ("server_id", SERVER)]
        address = self.address
        if kind == "nak":
            address = "0.0.0.0"
        else:
            options += [("lease_time", SECONDS), ("subnet_mask", MASK), ("router", SERVER)]
        boot = BOOTP(op=2, xid=frame[BOOTP].xid, yiaddr=address, siaddr=SERVER, flags=0x8000,
                     chaddr=frame[BOOTP].chaddr)
        return (Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / IP(src=SERVER, dst="255.255.255.255")
                / UDP(sport=67, dport=68) / boot / DHCP(options=options + ["end"]))
