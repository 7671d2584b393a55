"""A person at screen and keyboard of a machine that has no serial port."""

import re
import time

from rest import Rest
from system import FIRST_PASSWORD, LIMIT_S, ROOT_PASSWORD, switched_on

# The text that a BIOS machine's screen is made from (VGA, 80 columns): a character, then its colour.
TEXT, LENGTH, WIDTH = 0xB8000, 0x8000, 80
PLAIN = {" ": "spc", "\r": "ret", "-": "minus", ".": "dot", ",": "comma", "/": "slash", "=": "equal",
         ";": "semicolon", "'": "apostrophe", "\\": "backslash", "`": "grave_accent",
         "[": "bracket_left", "]": "bracket_right"}
SHIFTED = {"_": "minus", "?": "slash", ">": "dot", "<": "comma", "+": "equal", ":": "semicolon",
           '"': "apostrophe", "|": "backslash", "~": "grave_accent", "{": "bracket_left",
           "}": "bracket_right", **dict(zip("!@#$%^&*()", "1234567890"))}


def keys(character):
    """The keys of an American keyboard that are pressed together for it."""
    if character in SHIFTED or character.isupper():
        return ["shift", SHIFTED.get(character, character.lower())]
    return [PLAIN.get(character, character)]


class Screen:
    """Reads the screen's own memory and presses keys."""

    def __init__(self, machine):
        self.machine = machine
        self.before = {}

    def text(self) -> str:
        """All lines, also those that were scrolled up a little while ago."""
        file = self.machine.work / "screen"
        self.machine.ask("pmemsave", val=TEXT, size=LENGTH, filename=str(file))
        characters = file.read_bytes()[::2].decode("cp437").replace("\0", " ")
        lines = (characters[at:at + WIDTH].rstrip() for at in range(0, len(characters), WIDTH))
        return "\n".join(lines)

    def type(self, text: str):
        for character in text:
            pressed = [{"type": "qcode", "data": key} for key in keys(character)]
            self.machine.ask("send-key", keys=pressed)
            time.sleep(0.15)

    def shows(self, pattern: str, times: int = 1):
        """Waits until that many of its lines match."""
        def there():
            text = self.text()
            (self.machine.work / "screen.txt").write_text(text)
            return len(re.findall(f"(?m){pattern}", text)) >= times
        self.machine.wait(f"/{pattern}/ on the screen", there, LIMIT_S)

    def asks(self, prompt: str):
        """Waits until it is asked and nothing is behind it yet. A secret leaves it so for good."""
        self.before[prompt] = self.before.get(prompt, 0) + 1
        self.shows(f"^{prompt}.*: *$", self.before[prompt])


DIALOGUE = [
    ("IP protocol", "ipv4"), ("IPv4 address by", "dhcp"), ("DNS servers", ""), ("Host name", "screen"),
    ("Domain name", "lab.test"), ("NTP servers", ""), ("Time zone", "Europe/Oslo"),
    ("Password of admin", FIRST_PASSWORD), ("The same", FIRST_PASSWORD),
    ("Password of root", ROOT_PASSWORD), ("The same", ROOT_PASSWORD), ("SSH on", "no"),
    ("Set up a cluster", "no"), ("\"apply\"", "apply"),
]


def without_serial(image, work):
    with switched_on(image, work, serial=False) as system:
        screen = Screen(system.machine)
        screen.shows("Tutti: slot A")
        screen.shows("^Tutti first-boot setup")
        for prompt, answer in DIALOGUE:
            screen.asks(prompt)
            screen.type(f"{answer}\r")
        system.answers()
        screen.shows(r"https://10\.0\.2\.15/")
        screen.shows("^screen login: *$")
        screen.type("root\r")
        screen.shows("^Password: *$")
        screen.type(f"{ROOT_PASSWORD}\r")
        screen.shows("^root@screen.*# *$")
        screen.type("echo $(systemctl is-system-running --wait)-$(systemctl --failed -q | wc -l),\r")
        screen.shows("^running-0,$")
        # Not before: with the new name the service starts anew.
        Rest(f"https://127.0.0.1:{system.port}", "admin", FIRST_PASSWORD).get("/api/v1/settings")
        shown = screen.text()
        assert FIRST_PASSWORD not in shown and ROOT_PASSWORD not in shown, "a password was echoed"
    assert system.machine.console() == "", "there was a serial port"


CASES = {
    "without-serial": ("without a serial port a person sets the system up at screen and keyboard",
                       without_serial),
}
