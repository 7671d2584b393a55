"""The appliance's REST interface, as a script of an operator would use it."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request


class RestError(Exception):
    """The appliance refused; carries the status and what it said."""

    def __init__(self, status, text):
        super().__init__(f"HTTP {status}: {text[:400]}")
        self.status = status


class Rest:
    """One appliance. Its certificate is its own, so the connection is not verified here."""

    def __init__(self, url, user, password):
        self.url = url.rstrip("/")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def call(self, method, path, body=None, content_type="application/json", limit_s=60):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = dict(self.headers)
        if data is not None:
            headers["Content-Type"] = content_type
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=limit_s, context=self.context) as reply:
                text = reply.read().decode()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise RestError(error.code, error.read().decode("utf-8", "replace")) from None

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def put(self, path, body, **kw):
        return self.call("PUT", path, body, **kw)

    def post(self, path, body=None, **kw):
        return self.call("POST", path, body, **kw)


def wait_until(what, probe, limit_s=300, every_s=1.0):
    """Calls `probe` until it returns something true; its last answer or error is the message."""
    deadline = time.monotonic() + limit_s
    last = None
    while time.monotonic() < deadline:
        try:
            last = probe()
            if last:
                return last
        except (OSError, RestError, ValueError, KeyError) as error:
            last = error
        time.sleep(every_s)
    raise TimeoutError(f"{what}: not in {limit_s} s; last: {last!r}")
