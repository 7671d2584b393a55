#!/usr/bin/env python3
"""Every page of a standing cluster in a real browser: no error on the console, no breach of the
content security policy, nothing wider than a phone, every control reachable by the Tab key.

    pages.py URL ALONE PASSWORD OUT    (accounts: admin, and kim who only reads)

ALONE is a standalone system whose settings can be changed.
"""

import pathlib
import sys
import time

from browser import Browser

PAGES = {
    "overview": "/status/overview", "alarms": "/status/alarms", "events": "/status/events",
    "conflicts": "/status/conflicts", "cluster": "/status/cluster", "tables": "/status/tables",
    "table": "/status/tables/room", "clustering": "/system/clustering", "time": "/system/time",
    "dns": "/system/dns?name=localhost.example", "network": "/system/network",
    "certificates": "/system/certificates", "accounts": "/users/administrators",
    "edit": "/users/administrators/kim/edit", "password": "/account/password",
    "logging": "/maintenance/logging", "restart": "/maintenance/restart", "confirm": "/maintenance/restart/shutdown",
}
SETTINGS = {
    "alone-overview": "/status/overview", "alone-clustering": "/system/clustering",
    "settings-time": "/system/time", "settings-dns": "/system/dns",
    "settings-network": "/system/network", "settings-logging": "/maintenance/logging",
}
MENU = ["Status", "Overview", "Alarms", "Event log", "Conflicts", "Cluster", "System", "Clustering",
        "Time", "DNS", "Network", "Security certificates", "Users", "Administrator accounts",
        "Maintenance", "Logging", "Restart options"]
CONTROLS = """
return [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary")]
  .filter(one => one.checkVisibility() && !one.disabled)"""
TEXTS = CONTROLS + ".map(one => one.outerHTML.slice(0, 90))"
# By its place, because what is live may be made anew meanwhile.
FOCUSED = CONTROLS + ".indexOf(document.activeElement)"
WIDTH = "return [document.documentElement.scrollWidth, window.innerWidth]"
UNNAMED = """
return [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
  .filter(one => !one.labels?.length && !one.ariaLabel).map(one => one.outerHTML)"""

failures = []


def complain(page, what):
    failures.append(f"{page}: {what}")
    print(f"FAIL {page}: {what}")


def console(browser, page):
    for line in browser.console():
        if line["level"] in ("SEVERE", "WARNING"):
            complain(page, line["message"])


def keyboard(browser, page):
    """Tab leads through every control, in any order."""
    controls = browser.script(TEXTS)
    browser.script("document.activeElement.blur()")
    reached = set()
    for _ in range(len(controls) + 3):
        browser.key("\ue004")
        reached.add(browser.script(FOCUSED))
    for index, text in enumerate(controls):
        # Radio groups and such do not exist here: all must be reached.
        if index not in reached:
            complain(page, f"Tab does not reach {text}")


def visit(browser, url, out, look, pages):
    for page, path in pages.items():
        browser.open(url + path)
        where = f"{look} {page}"
        text = browser.text()
        if "Log out" not in text:
            complain(where, f"did not open: {text[:200]}")
        wide, room = browser.script(WIDTH)
        if wide > room:
            complain(where, f"is {wide} wide in {room}")
        for control in browser.script(UNNAMED):
            complain(where, f"has no label: {control}")
        if look == "light":
            keyboard(browser, where)
        browser.screenshot(out / f"{page}-{look}.png", whole=True)
        console(browser, where)


def live(browser, url):
    """A change appears by itself: the row count on the overview, without a reload."""
    browser.open(url + "/status/events?kind=login")
    browser.script("window.kept = 1")
    count = browser.script("return document.querySelectorAll('tbody tr').length")
    with Browser() as other:
        if not other.login(url + "/login", "kim", "wrong-on-purpose", then="is wrong"):
            complain("events", f"a wrong password is not refused: {other.text()[-600:]}")
    until = time.monotonic() + 60
    while browser.script("return document.querySelectorAll('tbody tr').length") == count:
        if time.monotonic() > until:
            complain("events", f"a new line does not appear by itself: {browser.text()[-900:]}")
            return
        time.sleep(0.2)
    if browser.script("return window.kept") != 1:
        complain("events", "the page was loaded again")


def settings(browser, url, out):
    """A field is typed and saved; a mistake is named beside what was typed."""
    browser.open(url + "/system/dns")
    browser.type("#server2", "192.0.2.2")
    browser.click("form.card button[type=submit]")
    if not browser.shows("Saved:"):
        complain("settings", f"were not saved: {browser.text()[-600:]}")
    browser.type("#server3", "nonsense")
    browser.click("form.card button[type=submit]")
    if not browser.shows("Default DNS server 3: not an IP address"):
        complain("settings", f"the mistake is not named: {browser.text()[-600:]}")
    browser.screenshot(out / "settings-wrong-light.png", whole=True)


def main():
    url, alone, password, out = *sys.argv[1:4], pathlib.Path(sys.argv[4])
    out.mkdir(parents=True, exist_ok=True)
    for look, options in {
        "light": {}, "dark": {"dark": True}, "phone": {"phone": True},
    }.items():
        with Browser(1280, 900, **options) as browser:
            browser.open(url + "/login")
            browser.screenshot(out / f"login-{look}.png")
            console(browser, f"{look} login")
            browser.login(url + "/login", "admin", password)
            visit(browser, url, out, look, PAGES)
            if look == "light":
                menu = browser.script(
                    "return [...document.querySelectorAll('nav summary, nav a')].map(e => e.textContent)")
                menu = [entry.split(" 1")[0].split(" 2")[0].strip() for entry in menu]
                missing = [entry for entry in MENU if entry not in menu]
                if missing:
                    complain("menu", f"lacks {missing}")
                live(browser, url)
    with Browser(1280, 900) as browser:
        browser.login(url + "/login", "kim", password)
        visit(browser, url, out, "reader",
              {name: path for name, path in PAGES.items() if name != "confirm"})
    for look, options in {"light": {}, "phone": {"phone": True}}.items():
        with Browser(1280, 900, **options) as browser:
            browser.login(alone + "/login", "admin", password)
            visit(browser, alone, out, look, SETTINGS)
            if look == "light":
                settings(browser, alone, out)
    print(f"{len(PAGES) + len(SETTINGS)} pages, {len(failures)} complaints; pictures in {out}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
