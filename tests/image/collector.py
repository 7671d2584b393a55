"""A syslog server over TLS (RFC 5425) on loopback, with an authority of its own."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path

NAME = "logs.lab.test"


def openssl(work: Path, *arguments):
    subprocess.run(["openssl", *arguments], cwd=work, check=True, capture_output=True)


class Collector:
    """Takes messages of counted octets; `messages` holds them."""

    def __init__(self, work: Path):
        self.messages = []
        work.mkdir(parents=True, exist_ok=True)
        subject = ["-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl(work, "req", "-x509", *subject, "-subj", "/CN=lab authority", "-keyout", "ca.key",
                "-out", "ca.pem")
        openssl(work, "req", "-x509", *subject, "-subj", f"/CN={NAME}", "-CA", "ca.pem", "-CAkey",
                "ca.key", "-addext", f"subjectAltName=DNS:{NAME}", "-addext",
                "basicConstraints=CA:FALSE", "-keyout", "server.key", "-out", "server.pem")
        self.authority = (work / "ca.pem").read_text()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(work / "server.pem", work / "server.key")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            plain, _ = self.listener.accept()
            threading.Thread(target=self.take, args=(plain,), daemon=True).start()

    def take(self, plain):
        try:
            with self.context.wrap_socket(plain, server_side=True) as stream:
                source = stream.makefile("rb")
                while head := self.count(source):
                    self.messages.append(source.read(head).decode(errors="replace"))
        except OSError:
            pass

    @staticmethod
    def count(source) -> int:
        digits = b""
        while (octet := source.read(1)) not in (b" ", b""):
            digits += octet
        return int(digits or 0)
