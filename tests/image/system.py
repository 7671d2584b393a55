"""A booted appliance as the cases of the matrix use it."""

import re
from contextlib import contextmanager
from pathlib import Path

from boot import https_answers
from first_boot import free_port
from login import Console
from machine import Failed, Machine
from rest import Rest

HERE = Path(__file__).resolve().parent
SETUP = HERE / "setup.toml"
ROOT_PASSWORD = "seven Quiet 5 turbines"
FIRST_PASSWORD = "blue-Harbour-41-cello"
PASSWORD = "green-Valley-52-oboe"
# Errors of a start that are not the appliance's.
HARMLESS = (
    # What the kernel says of the emulator's timer where that was late for its first look.
    r"kernel: \.\.MP-BIOS bug: 8254 timer not connected to IO-APIC",
)
# Emulated on a loaded machine a boot takes minutes.
LIMIT_S = 900


def setup_file(work: Path, **changes: str) -> Path:
    """The usual set-up file with other values; a value is TOML, `None` leaves the line out."""
    lines = []
    for line in SETUP.read_text().splitlines():
        name = line.split(" = ")[0]
        if name in changes:
            value = changes.pop(name)
            if value is None:
                continue
            line = f"{name} = {value}"
        lines.append(line)
    for name, value in changes.items():
        at = len(lines) if name == "tables" else 1
        lines.insert(at, value if name == "tables" else f"{name} = {value}")
    path = work / "setup.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class System:
    """A machine that was switched on."""

    def __init__(self, machine: Machine, port: int):
        self.machine, self.port = machine, port
        self.shell = None

    def answers(self):
        """Waits until HTTPS answers."""
        self.machine.wait("HTTPS answer", lambda: https_answers(self.port), LIMIT_S)

    def console(self) -> Console:
        if self.shell is None:
            self.shell = Console(self.machine)
        return self.shell

    def log_in(self):
        """As root, who is asked for another password at the first login after a set-up file."""
        self.console().log_in("root", ROOT_PASSWORD, LIMIT_S)

    def run(self, command: str) -> str:
        return self.console().run(command, LIMIT_S)

    def expect(self, command: str, wanted: str):
        """Runs a command until it prints what is wanted, for a while."""
        said = self.run(f"for i in $(seq 90); do s=$({command}); [ \"$s\" = '{wanted}' ] && break; "
                        "sleep 2; done; printf '%s' \"$s\"")
        if said != wanted:
            raise Failed(f"{command}: expected {wanted!r}, got {said!r}")

    def sound(self, *allowed: str):
        """Nothing failed, and nothing complained since the start but what may: `allowed` and
        HARMLESS are regular expressions of such lines."""
        self.expect("systemctl is-system-running", "running")
        failed = self.run("systemctl --failed --plain --no-legend")
        if failed:
            raise Failed(f"failed units: {failed}")
        lines = self.run("journalctl -b -p err -q --no-pager -o short-monotonic").splitlines()
        bad = [line for line in lines
               if not any(re.search(one, line) for one in (*HARMLESS, *allowed))]
        if bad:
            raise Failed("errors in the journal:\n" + "\n".join(bad))

    def keeps_secrets(self, *more: str):
        """No log has a password, or what else is named; no file has a password in clear."""
        def words(*secrets):
            return " ".join(f"-e '{secret}'" for secret in secrets)
        passwords = (ROOT_PASSWORD, FIRST_PASSWORD, PASSWORD)
        lines = self.run(f"journalctl -q --no-pager -o export | grep -acF {words(*passwords, *more)}")
        if lines != "0":
            raise Failed(f"{lines} lines of the journal have a secret")
        files = self.run(f"grep -rlaF -D skip {words(*passwords)} /etc /var /efi 2>/dev/null")
        if files:
            raise Failed(f"a password is in {files}")

    def shows(self, pattern: str):
        """The console says it; the screen is asked for again and again."""
        self.machine.wait_console(pattern, LIMIT_S)

    def rest(self) -> Rest:
        """The REST interface, with the first password changed."""
        url = f"https://127.0.0.1:{self.port}"
        first = Rest(url, "admin", FIRST_PASSWORD)
        first.put("/api/v1/password", {"password": PASSWORD})
        return Rest(url, "admin", PASSWORD)


@contextmanager
def switched_on(image, work, **options):
    """A machine that loses its power at the end."""
    port = free_port() if options.get("nic", "any") else None
    machine = Machine(image, work, https=port, **options)
    try:
        yield System(machine, port)
    finally:
        machine.kill()
