#!/usr/bin/env python3
"""Pictures for the README, taken from a standing demo and from the console of a first boot.

    pictures.py DEMO_DIRECTORY OUT [CONSOLE_LOG]
"""

import html
import pathlib
import re
import sys

from browser import Browser

ESCAPES = re.compile(r"\x1b(\[[0-9;?!]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)?|[()].|c)")
TERMINAL = """<!doctype html><meta charset=utf-8><style>
body{{margin:0;background:#101418;color:#d8dee6;padding:22px;
font:15px/1.35 "DejaVu Sans Mono",monospace}}pre{{margin:0}}</style><pre>{text}</pre>"""


def console(log):
    """The first questions of the wizard, as its log has them."""
    text = ESCAPES.sub("", log.replace("\r", ""))
    text = text[text.index("Tutti first-boot setup"):]
    return "\n".join(line.rstrip()[:96] for line in text.splitlines()[:36])


def main():
    demo = pathlib.Path(sys.argv[1])
    out = pathlib.Path(sys.argv[2]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    url = "https://127.0.0.1:8443"
    with Browser(1180, 820) as page:
        page.login(url, "admin", (demo / "admin-password").read_text().strip())
        page.screenshot(out / "overview.png")
        page.open(url + "/system/clustering")
        assert "This system" in page.text(), page.text()
        page.screenshot(out / "clustering.png")
    if len(sys.argv) < 4:
        return
    tail = console(pathlib.Path(sys.argv[3]).read_text(errors="replace"))
    shot = out / "console.html"
    shot.write_text(TERMINAL.format(text=html.escape(tail)))
    with Browser(900, 800) as page:
        page.open(shot.as_uri())
        page.screenshot(out / "console.png")
    shot.unlink()


if __name__ == "__main__":
    main()
