"""A person at the serial console who answers every question wrongly first, then sets the system up
with fixed addresses."""

import re

from faults import words
from first_boot import free_port
from system import LIMIT_S, PASSWORD, ROOT_PASSWORD, switched_on

ADDRESS, ADDRESS6 = "10.0.2.16", "fec0::16"
KEY = "kQ7-pP2-wL9-tR4-uU1"
LONG = "1.1.1.1 2.1.1.1 3.1.1.1 4.1.1.1"
# What is asked, what is said to each wrong answer, those answers, and the right one.
QUESTIONS = [
    ("IP protocol", "ipv4, ipv6 or both", ["ipv5", "yes"], "both"),
    ("IPv4 address by", "static or dhcp", ["auto"], "static"),
    ("IPv4 address", "an IPv4 address", ["", "1.2.3", "300.1.1.1", "::1"], None),
    ("IPv4 address", "the address of one system", ["127.0.0.1", "0.0.0.0", "224.0.0.1"], ADDRESS),
    ("IPv4 mask", "prefix length", ["33", "0", "255.0.255.0", "x", "+8"], "255.255.255.0"),
    ("IPv4 gateway", "inside 10.0.2.0/24", ["10.0.3.1", ADDRESS, "10.0.2.255"], "10.0.2.2"),
    ("IPv6 address by", "static or dhcp", ["auto"], "static"),
    ("IPv6 address", "not link-local", ["fe80::1", "::1", "ff02::1", "::ffff:1.2.3.4"], None),
    ("IPv6 address", "an IPv6 address", ["2001:db8::/64", "1.2.3.4"], ADDRESS6),
    ("IPv6 prefix", "from 1 to 128", ["0", "129", "x"], "64"),
    ("IPv6 gateway", "inside the network", ["fec1::1"], "fec0::2"),
    ("DNS servers", "addresses", ["dns.example.org"], None),
    ("DNS servers", "at most 5", ["1.1.1.1 1.1.1.1", f"{LONG} 5.1.1.1 6.1.1.1"], "10.0.2.3"),
    ("Host name", "host name", ["", "a b", "-a", "a.b", "$(reboot)", "localhost"], "answers"),
    ("Domain name", "domain name", ["a..b", "a b", "x;y"], "lab.test"),
    ("NTP servers", "a server by name", ["1.2.3", "a;b"], "none"),
    ("Time zone", "time zone", ["Mars/Base", "../x"], "europe/oslo"),
    ("Password of admin", "at least 10 characters", ["", "short", "password123"], PASSWORD),
    ("The same", "type both again", ["something else 77"], None),
    ("Password of admin", None, [], PASSWORD),
    ("The same", None, [], PASSWORD),
    ("Password of root", "at least 10 characters", ["rootroot"], ROOT_PASSWORD),
    ("The same", None, [], ROOT_PASSWORD),
    ("SSH on", "yes or no", ["maybe"], "no"),
    ("Set up a cluster", "yes or no", ["later"], "yes"),
    ("Peer addresses", "addresses", ["", "one", "192.0.2.1 192.0.2.1", LONG], ADDRESS),
    ("Cluster pre-shared key", "a key that peers take", ["", "short", "a" * 24], KEY),
    ("\"apply\"", "apply", ["", "yes", "no"], "<"),
    # Back to the cluster, which is not wanted after all.
    ("Cluster pre-shared key", None, [], "<"),
    ("Peer addresses", None, [], "<"),
    ("Set up a cluster", None, [], "no"),
    ("\"apply\"", None, [], "apply"),
]


def asked(prompt):
    """The prompt with its rules and its default, at the end of what was said."""
    by = "" if prompt.endswith(" by") else "(?! by)"
    return re.escape(prompt) + by + r"[^\n]*: $"


def wrong_answers(image, work):
    port = free_port()
    with switched_on(image, work, ways=[(port, f"{ADDRESS}:443")]) as system:
        system.port = port
        console = system.console()
        console.expect("Tutti first-boot setup", LIMIT_S)
        for prompt, expected, wrong, right in QUESTIONS:
            for answer in wrong:
                console.expect(asked(prompt), LIMIT_S)
                console.type(f"{answer}\r")
                said = console.expect(r"(?s)\n\s*Expected (.*?)\.\n", LIMIT_S).group(1)
                assert re.search(words(expected), said, re.I), f"{prompt} {answer!r}: {said}"
            if right is not None:
                console.expect(asked(prompt), LIMIT_S)
                console.type(f"{right}\r")
        system.answers()
        system.log_in()
        system.sound()
        assert system.run("cat /proc/sys/kernel/hostname") == "answers"
        for family, address in (("-4", f"{ADDRESS}/24"), ("-6", f"{ADDRESS6}/64")):
            there = f"ip {family} -brief address show dev eth0 | tr ' ' '\\n' | grep -cx {address}"
            assert system.run(there) == "1", address
        for family, gateway in (("-4", "10.0.2.2"), ("-6", "fec0::2")):
            there = f"ip {family} route show default | grep -c 'via {gateway} dev eth0'"
            assert system.run(there) == "1", gateway
        system.expect("grep -cE '^ *Cluster +none' /etc/issue", "1")
    typed = [PASSWORD, ROOT_PASSWORD, KEY, "password123", "rootroot", "something else 77"]
    said = system.machine.console()
    assert not any(secret in said for secret in typed), "a secret was echoed"


CASES = {
    "wrong-answers": ("each question of the console says what it expected to every wrong answer; then "
                      "both protocols with fixed addresses", wrong_answers),
}
