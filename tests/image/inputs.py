"""What a first boot is told, and by whom."""

import json
import re
import socket
import subprocess

from collector import NAME, Collector
from lease import Leases
from rest import Rest, RestError
from system import (FIRST_PASSWORD, LIMIT_S, PASSWORD, ROOT_PASSWORD, SETUP, setup_file,
                    switched_on)

KEY = "tidal-7mortar-Lima58-basin"


def volume(path, *files):
    """A FAT volume labelled TUTTI with these files as setup.toml."""
    with open(path, "wb") as image:
        image.truncate(4 << 20)
    subprocess.run(["mkfs.vfat", "-n", "TUTTI", str(path)], check=True, capture_output=True)
    for file in files:
        subprocess.run(["mcopy", "-i", str(path), str(file), "::setup.toml"], check=True)
    return path


def disc(path, file):
    """A CD labelled TUTTI."""
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-rock", "-V", "TUTTI", "-o", str(path),
                    "-graft-points", f"setup.toml={file}"], check=True, capture_output=True)
    return ["-drive", f"id=disc,if=none,format=raw,media=cdrom,readonly=on,file={path}",
            "-device", "ide-cd,drive=disc,bus=ide.2"]


def sticks(*paths):
    """QEMU's options for USB sticks."""
    options = ["-device", "qemu-xhci,id=sticks"]
    for number, path in enumerate(paths):
        options += ["-drive", f"id=stick{number},if=none,format=raw,file={path}",
                    "-device", f"usb-storage,bus=sticks.0,drive=stick{number},id=plug{number}"]
    return options


def by_volume(image, work):
    stick = volume(work / "stick", SETUP)
    with switched_on(image, work, extra=sticks(stick)) as system:
        system.answers()
        system.log_in()
        system.sound()
        kept = system.run("tutti setup --status")
        assert "Set up by the volume TUTTI (/dev/sd" in kept, kept
        assert system.run("ls /run/credstore") == "", "the file's copy is still there"
        system.keeps_secrets()
    other = work / "other"
    other.mkdir()
    volume(stick, setup_file(other, host_name='"second"'))
    with switched_on(image, work, extra=sticks(stick)) as system:
        system.answers()
        system.log_in()
        name = system.run("cat /proc/sys/kernel/hostname")
        assert name == "image-test", f"a volume changed a system that was set up: {name}"


def by_fw_cfg(image, work):
    """QEMU's own way: the file as it is, with all its lines, and a cluster of one."""
    cluster = f'[cluster]\nkey = "{KEY}"\npeers = ["10.0.2.15"]\nadditional_key_exchange = "off"'
    file = setup_file(work, tables=cluster)
    option = f"name=opt/io.systemd.credentials/tutti.setup,file={file}"
    with switched_on(image, work, extra=["-fw_cfg", option]) as system:
        system.answers()
        system.log_in()
        system.sound()
        assert system.run("cat /proc/sys/kernel/hostname") == "image-test"
        kept = system.run("tutti setup --status")
        assert "Set up by the credential tutti.setup" in kept, kept
        peers = system.rest().get("/api/v1/cluster")
        assert peers["peer1"] == "10.0.2.15", peers
        assert peers["additional_key_exchange"] == "off", peers
        system.keeps_secrets(KEY)


# By `tutti setup`, of passwords that are only here.
ADMIN, ADMIN_HASH = "amber-Lantern-63-viola", (
    "$argon2id$v=19$m=19456,t=2,p=1$nhIrQr1vAiKt9DR/NHuZIw$bUB8EINCxJikHP9N5kFbEIcENLlTYj1m0vtbtmqOZ+s")
ROOT, ROOT_HASH = "nine Silver 8 gliders", (
    "$6$rounds=5000$1G2nsDMCnc3WdWf3$umGqmTY8daoC/sPMj6zpUZXX5ytrkJoTrtpuMY8aZxRk4z1hycrIxJkJdCF6gXalqAkT0."
    "ksUhFoisBqxvNeu.")


def by_hashes(image, work):
    """Who writes the file need not know the passwords."""
    file = setup_file(work, admin_password=None, root_password=None,
                      admin_password_hash=f"'{ADMIN_HASH}'", root_password_hash=f"'{ROOT_HASH}'")
    with switched_on(image, work, credential=file) as system:
        system.answers()
        system.console().log_in("root", ROOT, LIMIT_S)
        system.sound()
        url = f"https://127.0.0.1:{system.port}"
        try:
            Rest(url, "admin", FIRST_PASSWORD).get("/api/v1/settings")
            raise AssertionError("another password was taken")
        except RestError as refused:
            assert refused.status == 401, refused
        Rest(url, "admin", ADMIN).put("/api/v1/password", {"password": PASSWORD})
        settings = Rest(url, "admin", PASSWORD).get("/api/v1/settings")
        assert settings["host_name"] == "image-test", settings


def by_disc(image, work):
    with switched_on(image, work, extra=disc(work / "disc.iso", SETUP)) as system:
        system.answers()
        system.log_in()
        system.sound()
        kept = system.run("tutti setup --status")
        assert "Set up by the volume TUTTI (/dev/sr0" in kept, kept


def two_volumes(image, work):
    """None is used, and then the one that is left, as the console says."""
    other = work / "other"
    other.mkdir()
    both = [volume(work / "stick1", SETUP),
            volume(work / "stick2", setup_file(other, host_name='"second"'))]
    with switched_on(image, work, extra=sticks(*both)) as system:
        system.shows(r"are all labelled TUTTI, so none is used. Unplug all but one")
        system.shows(r"Tutti first-boot setup")
        system.machine.ask("device_del", id="plug0")
        system.shows(r"setting up by the volume TUTTI")
        system.answers()
        system.log_in()
        assert system.run("cat /proc/sys/kernel/hostname") == "second"
        # Of the refusal this line is left, and no failed unit.
        system.sound(r"Failed to start tutti-volume\.service")


# A person's answers where DHCP gives the address.
ANSWERS = [(r"IP protocol[^:]*: $", ""), (r"IPv4 address by[^:]*: $", "dhcp"),
           (r"DNS servers[^:]*: $", ""), (r"Host name[^:]*: $", "by-hand"),
           (r"Domain name[^:]*: $", ""), (r"NTP servers[^:]*: $", ""), (r"Time zone[^:]*: $", ""),
           *[(prompt, word) for account, word in (("admin", FIRST_PASSWORD), ("root", ROOT_PASSWORD))
             for prompt in (f"Password of {account}[^:]*: $", r"The same[^:]*: $")],
           (r"SSH on[^:]*: $", ""), (r"Set up a cluster[^:]*: $", ""), (r"\"apply\"[^:]*: $", "apply")]


def mistaken_volume(image, work):
    """After that the person answers, and nothing is left of the failure."""
    stick = volume(work / "stick", setup_file(work, time_zone='"Mars/Olympus Mons"'))
    with switched_on(image, work, extra=sticks(stick)) as system:
        system.shows(r"the volume TUTTI \(/dev/sd[a-z]\) was refused: time_zone: expected")
        system.shows(r"Tutti first-boot setup")
        # The line of the refusal stands behind the first question: asked once more.
        system.console().type("no\r")
        for prompt, answer in ANSWERS:
            system.console().expect(prompt, 120)
            system.console().type(answer + "\r")
        system.answers()
        system.log_in()
        assert system.run("cat /proc/sys/kernel/hostname") == "by-hand"
        system.expect("systemctl is-system-running", "running")
        assert system.run("systemctl --failed --plain --no-legend") == ""


def empty_volume(image, work):
    with switched_on(image, work, extra=sticks(volume(work / "stick"))) as system:
        system.shows(r"the volume TUTTI \(/dev/sd[a-z]\) has no file setup.toml")
        system.shows(r"Tutti first-boot setup")


def by_text(image, work):
    """SMBIOS without base64: a string with line breaks in it."""
    table = work / "smbios"
    table.write_text(f"io.systemd.credential:tutti.setup={SETUP.read_text()}")
    with switched_on(image, work, extra=["-smbios", f"type=11,path={table}"]) as system:
        system.answers()
        system.log_in()
        assert system.run("cat /proc/sys/kernel/hostname") == "image-test"
        system.sound()


def foreign_credential(image, work):
    """systemd's own credentials from firmware start programs as root: none is looked at."""
    evil = "io.systemd.credential:systemd.extra-unit.evil.service=[Service]\\nExecStart=touch /run/evil"
    with switched_on(image, work, credential=SETUP,
                     extra=["-smbios", f"type=11,value={evil}",
                            "-smbios", "type=11,value=io.systemd.credential:passwd.plaintext-password.root=x",
                            "-fw_cfg", "name=opt/io.systemd.credentials/vmm.notify_socket,string=vsock:2:1",
                            ]) as system:
        system.answers()
        system.log_in()
        system.sound()
        assert system.run("ls /run/evil 2>/dev/null; systemctl cat evil.service 2>/dev/null") == ""
        taken = system.run("ls /run/credstore /run/credentials/@system 2>/dev/null")
        assert "passwd" not in taken and "vmm" not in taken, taken


def vlan_and_routes(image, work):
    tables = ('[ipv4.static]\naddress = "10.7.0.11"\nprefix = 24\ngateway = "10.7.0.1"\n'
              '[[routes]]\nto = "10.8.0.0/16"\nvia = "10.7.0.2"')
    file = setup_file(work, ipv4=None, interface='"eth0"', vlan="12", tables=tables)
    with switched_on(image, work, credential=file) as system:
        system.log_in()
        system.expect("cat /proc/net/vlan/vlan0 | grep -o 'VID: 12'", "VID: 12")
        system.expect("ip -4 -brief address show dev vlan0 | awk '{print $3}'", "10.7.0.11/24")
        system.expect("ip -4 -brief address show dev eth0 | awk '{print $3}'", "")
        system.expect("ip route show 10.8.0.0/16 | cut -d ' ' -f 1-5", "10.8.0.0/16 via 10.7.0.2 dev vlan0")
        system.sound()


def changed_lease(image, work):
    leases = Leases("10.7.0.20")
    with switched_on(image, work, credential=SETUP, nic=None, extra=leases.cable()) as system:
        system.shows("https://10.7.0.20/")
        system.log_in()
        leases.address = "10.7.0.30"
        system.expect("grep -o 'https://[0-9.]*' /etc/issue", "https://10.7.0.30")
        system.expect("ip -4 -brief address show dev eth0 | awk '{print $3}'", "10.7.0.30/24")
        system.expect("tutti status --json | grep -o '10[.]7[.]0[.][0-9]*' | sort -u", "10.7.0.30")
        log = system.run("journalctl -b -u tutti-serve -o cat --no-pager | grep -c 'addresses are now'")
        assert int(log) >= 1, "the change is not in the event log"
        system.sound()
    assert leases.given[0] == "10.7.0.20" and leases.given[-1] == "10.7.0.30", leases.given


def guest_agent(image, work):
    port = ["-device", "virtio-serial", "-chardev",
            f"socket,id=agent,path={work}/agent.sock,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
    with switched_on(image, work, credential=SETUP, extra=port) as system:
        system.answers()
        system.log_in()
        system.expect("systemctl is-active qemu-guest-agent", "active")
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(f"{work}/agent.sock")
            agent.settimeout(120)
            agent.sendall(b'{"execute": "guest-get-host-name"}\n')
            said = json.loads(agent.makefile().readline())
        assert said["return"]["host-name"] == "image-test", said
        others = system.run("systemctl is-active open-vm-tools hv-kvp-daemon hv-vss-daemon | sort -u")
        assert others == "inactive", others
        system.sound()


def remote_syslog(image, work):
    trusted, other = Collector(work / "trusted"), Collector(work / "other")
    with switched_on(image, work, credential=SETUP) as system:
        system.answers()
        system.log_in()
        system.sound()
        assert system.run("systemctl is-active tutti-syslog") == "inactive", "runs without a server"
        rest = system.rest()

        def send(authority, **more):
            settings = rest.get("/api/v1/settings")
            settings["syslog"] = {"server": "10.0.2.2", "port": trusted.port, "transport": "tls",
                                  "certificate_name": NAME, "authorities": authority, **more}
            rest.put("/api/v1/settings", settings)
            system.expect("systemctl is-active tutti-syslog", "active")

        send(other.authority)
        system.run("logger -t lab not-for-strangers")
        system.expect("journalctl -b -o cat -u tutti-syslog | grep -ci 'certificate' | grep -c '[1-9]'",
                      "1")
        assert not trusted.messages, "sent to a server that proved nothing"
        send(trusted.authority)
        system.run("logger -t lab -p user.warning for-the-collector")
        line = r"<12>1 \d{4}-\d\d-\d\dT\S+ image-test lab \S+ \S+ - ?for-the-collector"
        found_by = lambda line: lambda: any(re.search(line, said) for said in trusted.messages)
        system.machine.wait("line at the collector", found_by(line), LIMIT_S)
        # What waited comes too.
        system.machine.wait("the line that waited", found_by("not-for-strangers"), LIMIT_S)
        # Our own lines have their severity, and say who changed what from what to what.
        rest.put("/api/v1/settings", {**rest.get("/api/v1/settings"), "time_zone": "UTC"})
        try:
            rest.put("/api/v1/settings", {**rest.get("/api/v1/settings"), "time_zone": "no where"})
        except RestError as error:
            assert error.status == 422, error
        ours = r"1 \d{4}-\d\d-\d\dT\S+ image-test tutti \d+ \S+ - ?"
        for line in (fr'<30>{ours}System settings saved kind="change" who="admin" from="10\.0\.2\.2" '
                     r'before="time_zone: \\"Europe/Oslo\\"" after="time_zone: \\"UTC\\""',
                     fr'<28>{ours}Refused PUT /api/v1/settings: .* kind="input" who="admin"'):
            system.machine.wait(line, found_by(line), LIMIT_S)
        assert system.run("journalctl -b -q -o cat -p warning TUTTI_KIND=input TUTTI_WHO=admin | "
                          "grep -c 'Refused PUT'") == "1"
        rest.put("/api/v1/settings", {**rest.get("/api/v1/settings"), "syslog": None})
        system.expect("systemctl is-active tutti-syslog", "inactive")
        system.expect("systemctl is-system-running", "running")


CASES = {
    "by-volume": ("a volume TUTTI sets a system up, once", by_volume),
    "by-fw-cfg": ("a file given by QEMU's fw_cfg does, and no secret of it is in a log", by_fw_cfg),
    "by-hashes": ("the file may have the passwords' hashes instead", by_hashes),
    "by-disc": ("a CD labelled TUTTI does too", by_disc),
    "by-text": ("a credential from SMBIOS that is text of many lines does too", by_text),
    "two-volumes": ("of two volumes TUTTI none is used, the console says so, and the one that is left is",
                    two_volumes),
    "mistaken-volume": ("a volume with a mistake is refused by the field's name, the console asks, and "
                        "no unit stays failed", mistaken_volume),
    "empty-volume": ("a volume without a setup.toml is named, and the console asks", empty_volume),
    "foreign-credential": ("credentials that are not ours are not taken", foreign_credential),
    "changed-lease": ("another address by DHCP is shown and used, without a restart", changed_lease),
    "guest-agent": ("a hypervisor's guest agent runs there and nowhere else", guest_agent),
    "remote-syslog": ("the journal goes to a syslog server that proves itself, and to no other",
                      remote_syslog),
    "vlan-and-routes": ("a VLAN and static routes are in use", vlan_and_routes),
}
