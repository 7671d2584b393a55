"""A person at the serial console: types, and reads until what is expected appears."""

import re
import socket
import time

from machine import Failed, Machine

ESCAPES = re.compile(r"\x1b(\[[0-9;?!]*[A-Za-z]|\][^\x07]*\x07|[()].)")


def changed(password: str) -> str:
    """What a test chooses where a new password is asked for."""
    return f"{password} anew"


class Console:
    def __init__(self, machine: Machine, stream: socket.socket | None = None):
        """`stream`: another way in than the serial line."""
        self.machine = machine
        self.socket = stream or self.connect(str(machine.work / "console.sock"))
        self.socket.settimeout(0.5)
        self.seen = ""

    def connect(self, path: str, timeout: float = 60) -> socket.socket:
        """The emulator makes its socket a moment after it was started."""
        end = time.monotonic() + timeout
        while True:
            stream = socket.socket(socket.AF_UNIX)
            try:
                stream.connect(path)
                return stream
            except (FileNotFoundError, ConnectionRefusedError) as error:
                stream.close()
                self.machine.alive()
                if time.monotonic() > end:
                    raise Failed(f"{path}: {error}") from None
                time.sleep(0.1)

    def type(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def expect(self, pattern: str, timeout: float) -> re.Match:
        """Reads on until the expression appears; what came before it is forgotten."""
        expression = re.compile(pattern)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = expression.search(self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            self.machine.alive()
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise Failed(f"closed before it said /{pattern}/, but: {self.seen!r}")
            self.seen += ESCAPES.sub("", data.decode(errors="replace")).replace("\r", "")
        raise Failed(f"the console did not say /{pattern}/ within {timeout} s, but: {self.seen!r}")

    def log_in(self, name: str, password: str, timeout: float) -> bool:
        """Whether another password was asked for. It is `changed(password)`, then and later: an
        earlier login may have been asked already."""
        # The prompt may have appeared before we looked: an empty line brings it again. A console
        # redrawn at this moment drops what was just typed, and a machine that is slow for a minute
        # is too late for login(1): as a person would, try again.
        end = time.monotonic() + timeout
        asked, known = False, [password, changed(password)]
        while True:
            self.type("\r")
            try:
                self.expect("login: ", 20)
                self.type(f"{name}\r")
                self.expect("Password: ", 60)
                self.type(f"{known[0]}\r")
                said = self.expect(r"[#$] |timed out|Current password: |Login incorrect", 120).group()
                if said == "Current password: ":
                    asked = True
                    self.type(f"{known[0]}\r")
                    for prompt in ("New password: ", "Retype new password: "):
                        self.expect(prompt, 60)
                        self.type(f"{changed(password)}\r")
                    said = self.expect(r"[#$] |timed out", 120).group()
                if said in ("# ", "$ "):
                    break
                if said == "Login incorrect":
                    known.reverse()
                raise Failed(f"{name} could not log in: {said}")
            except Failed:
                if time.monotonic() > end:
                    raise
        self.type("stty -echo; PS1=; export TERM=dumb SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat\r")
        self.run("true")
        return asked

    def run(self, command: str, timeout: float = 180) -> str:
        """Runs one command line; returns what it printed, without its surrounding blanks."""
        self.type(f"{{ {command}; }} 2>&1; printf 'end-%s\\n' of\r")
        found = self.expect(r"(?s)(.*?)end-of\n", timeout)
        return found.group(1).strip()
