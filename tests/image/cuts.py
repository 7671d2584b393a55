"""The power goes while something is written; what was promised then stands at the next start."""

import threading
import time

from faults import set_up
from machine import Failed
from moves import FIXED, leased
from rest import RestError
from system import LIMIT_S, switched_on

# Writes after which the power goes in a first boot, which has some 170 until its login: while the
# table is written, the file systems grow, /var is made, the settings are kept, the database is founded.
MOMENTS = (2, 4, 8, 14, 22, 40, 60, 85, 105, 130)


def after(system, writes, what, begin=lambda: None):
    """Cuts the power that many writes after now, and says where that was."""
    machine = system.machine
    wanted = machine.writes() + writes
    begin()
    end = time.monotonic() + LIMIT_S
    while (seen := machine.writes()) < wanted:
        machine.alive()
        if time.monotonic() > end:
            raise Failed(f"only {seen} of {wanted} writes")
    machine.kill()
    print(f"{what}: power cut after {writes} writes, at {wanted} (seen at {seen})", flush=True)


def first_boot_cut(moment):
    def run(image, work):
        with set_up(image, work) as system:
            after(system, moment, f"first-boot-cut-{moment}")
            said = system.machine.console()
            print(f"first-boot-cut-{moment}: {said.strip().splitlines()[-1:]}", flush=True)
            # Else this cut nothing: the system had settled before.
            assert "login: " not in said, "the first boot was over"
        with set_up(image, work) as system:
            system.answers()
            system.log_in()
            system.sound()
            assert system.run("cat /proc/sys/kernel/hostname") == "image-test"
            assert system.run("cat /run/tutti-disk 2>/dev/null") == ""
    return run


class Changes(threading.Thread):
    """Changes a setting, again and again, until nobody answers any more."""

    def __init__(self, rest):
        super().__init__(daemon=True)
        self.rest, self.settings = rest, rest.get("/api/v1/settings")
        self.tried = self.acknowledged = 0
        self.ended = None

    def run(self):
        try:
            while True:
                self.tried += 1
                self.settings["ntp_servers"] = [f"ntp-{self.tried}.lab.test"]
                self.rest.put("/api/v1/settings", self.settings)
                self.acknowledged = self.tried
        except (OSError, RestError, ValueError) as end:
            self.ended = end


def settings_cut(moment):
    def run(image, work):
        with set_up(image, work) as system:
            system.answers()
            changes = Changes(system.rest())
            after(system, moment, f"settings-cut-{moment}", changes.start)
            changes.join(LIMIT_S)
        assert isinstance(changes.ended, OSError), f"ended before the power: {changes.ended}"
        said = f"{changes.acknowledged} changes acknowledged, {changes.tried} tried"
        print(f"settings-cut-{moment}: {said}", flush=True)
        assert changes.tried > changes.acknowledged, f"no change was cut: {said}"
        with switched_on(image, work) as system:
            system.answers()
            system.log_in()
            system.sound()
            kept = system.run("grep -o 'ntp-[0-9]*' /etc/chrony/sources.d/tutti.sources")
            wanted = [f"ntp-{n}" if n else "" for n in (changes.acknowledged, changes.tried)]
            assert kept in wanted, f"{kept} is kept; {said}"
    return run


def trial_cut(image, work):
    """A change of the network that nobody confirmed: while it is made, and once it is in force."""
    static = f'\'{{"static": {{"address": "{FIXED}", "prefix": 24, "gateway": "10.0.2.2"}}}}\''
    change = f"tutti settings set ipv4={static}"
    with set_up(image, work) as system:
        system.answers()
        system.log_in()
        system.run("sync")
        after(system, 2, "trial-cut", lambda: system.console().type(change + "\r"))
    with switched_on(image, work) as system:
        system.log_in()
        leased(system)
        system.sound()
        system.run("sync")
        assert "unless confirmed" in system.run(change)
        system.expect("ip -4 -brief address show dev eth0 | awk '{print $3}'", f"{FIXED}/24")
        system.machine.kill()
    with switched_on(image, work) as system:
        system.shows("https://10.0.2.15/")
        system.log_in()
        leased(system)
        said = "a change of the network was never confirmed: put back"
        assert system.run(f"journalctl -b -q -o cat -u tutti-host | grep -c '{said}'") == "1"
        system.sound()


CASES = {
    **{f"first-boot-cut-{m}": (f"power cut after {m} writes of a first boot", first_boot_cut(m))
       for m in MOMENTS},
    **{f"settings-cut-{m}": (f"power cut {m} writes into changes of settings", settings_cut(m))
       for m in (1, 2, 3, 5, 7, 9, 12, 15, 19, 24)},
    "trial-cut": ("power cut within a change of the network, and while it waits for a confirmation",
                  trial_cut),
}
