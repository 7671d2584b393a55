"""A real browser (Debian's chromium by its chromedriver), spoken to by WebDriver (W3C)."""

import base64
import json
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--ignore-certificate-errors", "--hide-scrollbars",
]


def driver():
    """A chromedriver and its port. It takes a free port of one address family for both, and ends where
    another program has that of the other: then it is begun again."""
    said = []
    for _ in range(5):
        process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        for line in process.stdout:
            port = re.search(r"started successfully on port (\d+)", line)
            if port:
                return process, port[1]
            said.append(line)
        process.wait()
        process.stdout.close()
    raise RuntimeError("chromedriver did not start: " + "".join(said))


class Browser:
    """One headless window; closes itself and ends its driver on leaving the `with` block."""

    def __init__(self, width=1280, height=860, dark=False, phone=False, scripts=True):
        self.profile = tempfile.TemporaryDirectory(prefix="tutti-browser-")
        self.driver, port = driver()
        self.base = f"http://127.0.0.1:{port}"
        switches = SWITCHES + [f"--window-size={width},{height}",
                               f"--user-data-dir={self.profile.name}"]
        if dark:
            switches.append("--blink-settings=preferredColorScheme=0")
        options = {"args": switches}
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {
                "width": 390, "height": 844, "pixelRatio": 2.0}}
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": True, "timeouts": {"implicit": 10000},
            "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": options}}})
        self.base += "/session/" + answer["sessionId"]
        if not scripts:
            self.devtools("Emulation.setScriptExecutionDisabled", value=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()
            self.profile.cleanup()

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data,
                                         {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=180) as reply:
                return json.loads(reply.read())["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:600]) from None

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def find(self, css):
        """The first element of that kind, which may still come; what is there instead if none."""
        try:
            return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]
        except RuntimeError as error:
            where = self.script("return location.href")
            raise RuntimeError(f"no {css} at {where}: {self.text()[-900:]}") from error

    def type(self, css, text):
        element = self.find(css)
        self.call("POST", f"/element/{element}/clear", {})
        self.call("POST", f"/element/{element}/value", {"text": text})

    def click(self, css):
        self.call("POST", f"/element/{self.find(css)}/click", {})

    def devtools(self, command, **params):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def script(self, text):
        return self.call("POST", "/execute/sync", {"script": text, "args": []})

    def text(self):
        return self.script("return document.body?.innerText ?? ''")

    def shows(self, words, limit=60):
        """Whether words are on the page, or come: a click may return before its answer is here."""
        until = time.monotonic() + limit
        while words not in self.text():
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True

    def key(self, key):
        """One key pressed and let go."""
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": [
            {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]}]})

    def console(self):
        """What the page wrote to the console since the last time, policy breaches included."""
        return self.call("POST", "/se/log", {"type": "browser"})

    def screenshot(self, path, whole=False):
        if not whole:
            picture = self.call("GET", "/screenshot")
        else:
            picture = self.devtools("Page.captureScreenshot", format="png",
                                    captureBeyondViewport=True)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(picture))

    def login(self, url, user, password, then="Log out"):
        """False if the page that answers does not show what it should."""
        self.open(url)
        self.type("input:not([type=hidden]):not([type=password])", user)
        self.type("input[type=password]", password)
        self.click("form button")
        return self.shows(then)
