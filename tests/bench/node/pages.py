#!/usr/bin/env python3
"""Fifty pages a second of one system, natively, for twenty seconds: `page_ms_p50`, `page_ms_p99`.

    pages.py TUTTI
"""

import base64
import http.client
import json
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PAGES = ["/status/overview", "/status/alarms", "/status/events", "/status/cluster",
         "/system/clustering", "/system/time", "/system/dns", "/system/certificates"]
RATE, SECONDS, CLIENTS = 50, 20, 5


def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connect(https):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", https, context=context, timeout=30)


def call(https, method, path, body, **headers):
    stream = connect(https)
    headers["Content-Type"] = "application/json"
    stream.request(method, path, json.dumps(body), headers)
    answer = stream.getresponse()
    said = answer.read()
    assert answer.status in (200, 204), said
    return answer


def log_in(https, first):
    """The first password is good for choosing another only."""
    password = secrets.token_urlsafe(18)
    basic = base64.b64encode(f"bench:{first}".encode()).decode()
    call(https, "PUT", "/api/v1/password", {"password": password}, Authorization=f"Basic {basic}")
    answer = call(https, "POST", "/api/v1/session", {"name": "bench", "password": password})
    return answer.headers["Set-Cookie"].split(";")[0]


def client(number, https, cookie, begin, took, wrong):
    stream = connect(https)
    for turn in range(number, RATE * SECONDS, CLIENTS):
        due = begin + turn / RATE
        time.sleep(max(0, due - time.monotonic()))
        asked = time.monotonic()
        stream.request("GET", PAGES[turn % len(PAGES)], headers={"Cookie": cookie})
        answer = stream.getresponse()
        answer.read()
        took.append(time.monotonic() - asked)
        if answer.status != 200:
            wrong.append((PAGES[turn % len(PAGES)], answer.status))


def main():
    tutti, https, password = sys.argv[1], port(), secrets.token_urlsafe(18)
    with tempfile.TemporaryDirectory() as top:
        run, state = Path(top, "run"), Path(top, "state")
        run.mkdir()
        state.mkdir()
        command = [tutti, "--run", str(run), "--state", str(state)]
        serve = subprocess.Popen([*command, "serve", "--no-host", "--name", "bench",
                                  "--address", "127.0.0.1", "--https", f"127.0.0.1:{https}",
                                  "--http", f"127.0.0.1:{port()}"], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while subprocess.run([*command, "status"], capture_output=True).returncode:
                assert time.monotonic() < end, "serve does not answer"
                time.sleep(0.1)
            subprocess.run([*command, "accounts", "add", "bench", "--role", "administrator",
                            "--password-file", "-"],
                           input=password, text=True, check=True, stdout=subprocess.DEVNULL)
            cookie, took, wrong = log_in(https, password), [], []
            begin = time.monotonic() + 0.5
            clients = [threading.Thread(target=client, args=(n, https, cookie, begin, took, wrong))
                       for n in range(CLIENTS)]
            for one in clients:
                one.start()
            for one in clients:
                one.join()
        finally:
            serve.terminate()
            serve.wait()
    assert not wrong, wrong[:5]
    took.sort()
    for percent in (50, 99):
        print(f"page_ms_p{percent}: {took[len(took) * percent // 100] * 1000:.1f}")


main()
