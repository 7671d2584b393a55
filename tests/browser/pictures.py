#!/usr/bin/env python3
"""Pictures for the README, taken from a standing demo: pictures.py STATE.json OUTDIR."""

import html
import json
import pathlib
import sys

from browser import Browser

TERMINAL = """<!doctype html><meta charset=utf-8><style>
body{{margin:0;background:#101418;color:#d8dee6;padding:22px;
font:15px/1.35 "DejaVu Sans Mono",monospace}}pre{{margin:0}}</style><pre>{text}</pre>"""


def main():
    state = json.loads(pathlib.Path(sys.argv[1]).read_text())
    out = pathlib.Path(sys.argv[2]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    first = state["peers"][0]
    with Browser(1180, 820) as page:
        page.login(first["url"], "admin", first["admin_password"])
        page.screenshot(out / "overview.png")
        page.open(first["url"] + "/system/clustering")
        assert "This system" in page.text(), page.text()
        page.screenshot(out / "clustering.png")
    log = pathlib.Path(first["console_log"]).read_text(errors="replace").replace("\r", "")
    tail = "\n".join(line.rstrip()[:100] for line in log.splitlines()[-22:] if line.isprintable())
    shot = out / "console.html"
    shot.write_text(TERMINAL.format(text=html.escape(tail)))
    with Browser(900, 520) as page:
        page.open(shot.as_uri())
        page.screenshot(out / "console.png")
    shot.unlink()


if __name__ == "__main__":
    main()
