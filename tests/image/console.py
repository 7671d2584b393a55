"""A serial console on a unix socket, driven as a person would: wait for a text, type an answer.

Every wait ends on the event or fails with what was seen instead; the limits are generous because
emulated machines are slow and shared.
"""

import re
import secrets
import socket
import time


class ConsoleError(Exception):
    """What was waited for did not come; the message shows the end of what did."""


class Console:
    def __init__(self, path, log=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.seen = ""
        self.log = open(log, "a", encoding="utf-8") if log else None

    def close(self):
        self.socket.close()
        if self.log:
            self.log.close()

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def expect(self, pattern, limit_s=240):
        """Waits for the regular expression; returns its match and consumes up to its end."""
        deadline = time.monotonic() + limit_s
        expression = re.compile(pattern)
        while True:
            match = expression.search(self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConsoleError(f"no /{pattern}/ in {limit_s} s; last seen: {self.seen[-800:]!r}")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise ConsoleError(f"console closed before /{pattern}/: {self.seen[-800:]!r}")
            text = data.decode("utf-8", "replace").replace("\r", "")
            self.seen += text
            if self.log:
                self.log.write(text)
                self.log.flush()

    def login(self, user, password, limit_s=240):
        """Logs in and leaves a shell whose prompt and echo do not get in the way."""
        self.send("")
        self.expect(r"login: ?$", limit_s)
        self.send(user)
        self.expect(r"[Pp]assword: ?$", limit_s)
        self.send(password)
        self.expect(r"[#$] $", limit_s)
        self.run("stty -echo; PS1=; TERM=dumb; bind 'set enable-bracketed-paste off' 2>/dev/null")

    def run(self, command, limit_s=240):
        """Runs a command in the shell; returns (exit code, output)."""
        mark = secrets.token_hex(8)
        # The mark is split in the command so that its echo is not taken for its output.
        self.send(f"echo {mark[:8]}''{mark[8:]}; {command}\necho {mark[8:]}''{mark[:8]} $?")
        self.expect(mark + r"\n", limit_s)
        match = self.expect(rf"(?s)(.*?){mark[8:]}{mark[:8]} (\d+)\n", limit_s)
        return int(match.group(2)), match.group(1).strip("\n")
