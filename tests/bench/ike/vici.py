"""strongSwan's control protocol (vici), as far as starting and ending a connection needs it."""

import socket
import struct

REQUEST, RESPONSE = 0, 1
KEY_VALUE = 3


class Vici:
    def __init__(self, path):
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(path)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.stream.recv(count - len(data))
            if not piece:
                raise ConnectionError("charon closed the connection")
            data += piece
        return data

    def ask(self, command, **values):
        body = b""
        for key, value in values.items():
            body += bytes([KEY_VALUE, len(key)]) + key.encode()
            body += struct.pack(">H", len(value)) + value.encode()
        packet = bytes([REQUEST, len(command)]) + command.encode() + body
        self.stream.sendall(struct.pack(">I", len(packet)) + packet)
        answer = self.exactly(struct.unpack(">I", self.exactly(4))[0])
        if answer[0] != RESPONSE or b"\x07success\x00\x03yes" not in answer:
            raise RuntimeError(f"charon refused {command}: {answer!r}")

    def initiate(self):
        self.ask("initiate", ike="peer", child="ah", timeout="60000")

    def terminate(self):
        self.ask("terminate", ike="peer", timeout="60000")
