"""The control socket of `tutti ike`, spoken as `serve` does: length, then postcard."""

import ipaddress
import select
import socket
import struct
import time

from postcard import address, send, varint

STATES = ["Connecting", "Up", "NoAnswer", "AuthenticationFailed", "AuthenticationDoubted",
          "NoProposal", "NotListed"]
HASHES = ["sha256", "sha384", "sha512"]
INTEGRITY = ["sha256", "sha512", "sha384"]
GROUPS = ["modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "x25519"]


def blob(data):
    return varint(len(data)) + data


def suite(text):
    """aes256gcm16-prfsha256-x25519[-ke1_mlkem768] or aes256-sha256-ecp256."""
    words = text.split("-")
    if words[0] == "aes256gcm16":
        encryption, hash_ = varint(0), words[1].removeprefix("prf")
    else:
        encryption, hash_ = varint(1) + varint(INTEGRITY.index(words[1])), words[1]
    additional = b"\1" + varint(0) if words[3:] == ["ke1_mlkem768"] else b"\0"
    return (encryption + varint(HASHES.index(hash_)) + varint(GROUPS.index(words[2]))
            + additional)


def desired(local, peers, key, version, proposal):
    """`peers` are (address, reqid); AH is SHA2-256 with a key exchange of its own in IKEv1."""
    listed = b"".join(address(peer) + varint(reqid) for peer, reqid in peers)
    certificate = local.encode().rjust(32, b"\0") + b"\0"
    profile = varint(version - 1) + varint(1) + suite(proposal) + varint(1) + varint(0) + b"\1"
    return (address(local) + varint(len(peers)) + listed + blob(key.encode()) + certificate
            + profile + b"\0\0")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def option(self, read):
        return read() if self.take(1)[0] else None

    def presented(self):
        return self.take(32), self.option(lambda: self.take(32))

    def state(self):
        state = self.varint()
        if state == 1:
            self.option(self.presented)
        elif state >= len(STATES):
            self.take(self.varint())
        return STATES[state] if state < len(STATES) else "Failed"

    def suite(self):
        if self.varint() == 1:
            self.varint()
        self.varint(), self.varint()
        self.option(self.varint)


class Ike:
    """One connection; `states` is what was last heard, by address."""

    def __init__(self, path, patience=60):
        self.patience = patience
        end = time.monotonic() + patience
        while True:
            self.stream = socket.socket(socket.AF_UNIX)
            try:
                self.stream.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.states, self.received = {}, b""

    def configure(self, wanted):
        body = b"\0" + (b"\0" if wanted is None else b"\1" + wanted)
        send(self.stream, body)

    def hear(self, timeout):
        if not select.select([self.stream], [], [], timeout)[0]:
            raise TimeoutError(f"no word from ike; last heard: {self.states}")
        piece = self.stream.recv(65536)
        if not piece:
            raise ConnectionError("ike closed the connection")
        self.received += piece
        while len(self.received) >= 4:
            length = struct.unpack_from(">I", self.received)[0]
            if len(self.received) < 4 + length:
                return
            self.status(Reader(self.received[4:4 + length]))
            self.received = self.received[4 + length:]

    def status(self, reader):
        if reader.varint() != 0:
            return
        self.states = {}
        for _ in range(reader.varint()):
            peer = ipaddress.ip_address(reader.take(16 if reader.varint() else 4))
            self.states[str(peer)] = reader.state()
            reader.varint()
            reader.option(lambda: (reader.varint(), reader.varint()))
            reader.varint(), reader.varint()
            reader.option(reader.presented)
            reader.varint()
            reader.option(reader.suite)
            reader.take(1)
            reader.option(lambda: (reader.varint(), reader.take(1)))
            reader.option(lambda: (reader.state(), reader.take(1), reader.varint()))

    def wait(self, done):
        """Until `done(states)`."""
        end = time.monotonic() + self.patience
        while not done(self.states):
            self.hear(max(0, end - time.monotonic()))

    def wait_up(self, peers):
        self.wait(lambda states: all(states.get(peer) == "Up" for peer in peers))
