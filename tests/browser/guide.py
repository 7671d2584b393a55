#!/usr/bin/env python3
"""Three systems become one by the guide's steps, typed into a browser that runs no script; a row
then written at one appears on another's page by itself, and the picture draws the links as AH.

    guide.py KEY PASSWORD OUT URL=ADDRESS URL=ADDRESS URL=ADDRESS    (each has the account admin)
"""

import pathlib
import sys
import time

from browser import Browser

LIMIT_S = 120
FORM = "form.card button[type=submit]"


class Failed(Exception):
    pass


def until(what, look):
    end = time.monotonic() + LIMIT_S
    while not look():
        if time.monotonic() > end:
            raise Failed(what)
        time.sleep(0.3)


class System:
    """One system's pages in a browser of its own, without scripts."""

    def __init__(self, url, address, password):
        self.url, self.address, self.password = url, address, password
        self.browser = Browser(1280, 900, scripts=False)
        self.open("/status/overview")

    def open(self, path):
        """A page; logs in where the session has ended, as it does when a system joins. Goes again
        where the page before, which refreshes by itself, did so at the very moment."""
        def here():
            self.browser.open(self.url + path)
            if "Log out" in self.browser.text():
                return self.browser.script("return location.pathname") == path
            return self.browser.login(self.url + "/login", "admin", self.password) and here()
        until(f"{path} of {self.url}", here)

    def save(self, says, join=False, **fields):
        """System > Clustering: types into fields, saves, and waits for the answer."""
        self.open("/system/clustering")
        for field, text in fields.items():
            self.browser.type(f"#{field}", text)
        if join:
            self.browser.click("#join")
        self.browser.click(FORM)
        if not self.browser.shows(says):
            raise Failed(f"{self.url} does not say {says!r}: {self.browser.text()[-900:]}")

    def says(self, words):
        def look():
            self.open("/system/clustering")
            return words in self.browser.text()
        until(f"{words!r} beside a peer of {self.url}", look)


def cluster(a, b, c, key):
    a.save("Saved", key=key, peer1=a.address)
    a.says("This system")
    a.save("Saved", peer2=b.address)
    b.save("Nothing was saved", key=key, peer1=a.address, peer2=b.address)
    b.save("Saved", join=True, key=key, peer1=a.address, peer2=b.address)
    b.says("Active as peer-a")
    a.says("Active as peer-b")
    for system in (a, b):
        system.save("Saved", peer3=c.address)
    c.save("Saved", join=True, key=key, peer1=a.address, peer2=b.address, peer3=c.address)
    for system, others in ((a, "bc"), (b, "ac"), (c, "ab")):
        for other in others:
            system.says(f"Active as peer-{other}")


def row(a, watcher, url, password, out):
    watcher.login(url + "/login", "admin", password)
    watcher.open(url + "/status/tables/note")
    watcher.script("window.kept = 1")
    a.open("/status/tables/note")
    a.browser.type("#c1", "7")
    a.browser.type("#c2", "written by hand at the first")
    a.browser.click(FORM)
    if not watcher.shows("written by hand at the first"):
        raise Failed(f"the row does not appear by itself: {watcher.text()[-900:]}")
    if watcher.script("return window.kept") != 1:
        raise Failed("the page was loaded again")
    watcher.open(url + "/status/overview")
    links = "return [...document.querySelectorAll('svg.wide text.tag')].map(one => one.textContent)"
    until("two links drawn as AH", lambda: sum(
        text.startswith("AH") for text in watcher.script(links)) == 2)
    watcher.screenshot(out / "guide-clustered.png", whole=True)


def account(a, b, out):
    """A new administrator's first password opens nothing but the page that changes it."""
    a.open("/users/administrators")
    a.browser.type("#name", "robin")
    a.browser.type("#password", "first-Word 4 robin")
    a.browser.click("form[action='/users/administrators'] button[type=submit]")
    if not a.browser.shows("must change the password"):
        raise Failed(f"robin was not added: {a.browser.text()[-900:]}")
    with Browser(scripts=False) as robin:
        until("robin at the second", lambda: robin.login(
            b.url + "/login", "robin", "first-Word 4 robin", then="Current password"))
        robin.open(b.url + "/status/overview")
        robin.type("#current", "first-Word 4 robin")
        robin.type("#new", "kelp 7 harbour lantern")
        robin.type("#again", "kelp 7 harbour lantern")
        robin.click(FORM)
        # Whoever changed a password logs in with it.
        until("robin's own password", lambda: robin.login(
            b.url + "/login", "robin", "kelp 7 harbour lantern"))
        robin.open(b.url + "/status/overview")
        until("an overview that follows without a script",
              lambda: robin.script("return location.search") == "?refresh")


def main():
    key, password, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    systems = []
    try:
        for place in sys.argv[4:7]:
            systems.append(System(*place.split("="), password))
        a, b, c = systems
        cluster(a, b, c, key)
        with Browser(1280, 900) as watcher:
            row(a, watcher, c.url, password, out)
        account(a, b, out)
    except Failed as failed:
        print(f"FAIL {failed}")
        return 1
    finally:
        for system in systems:
            system.browser.close()
    print("a cluster by the guide's steps, without scripts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
