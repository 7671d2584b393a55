"""One appliance under QEMU: how it is started, and how a test waits for what it does.

Emulated unless the machine's KVM really boots the kernel: /dev/kvm may exist and still not run it.
"""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# Of the emulator that build.sh chose, else of this machine's own.
OVMF = Path(os.environ.get("TUTTI_EMULATOR", "/")) / "usr/share/OVMF"
# Plain "max" panics the guest now and then under emulation; and what real processors do fast with
# whole strings, the emulator does octet by octet (a tenth of a boot).
CPU = "max,-cx16,-la57,-erms,-fsrm"
# Machines that run at once (set by who starts several).
AT_ONCE = int(os.environ.get("TUTTI_MACHINES", "1"))


def threads() -> str:
    """A machine's two processors are two threads of the emulator where there are cores for all. Else
    they take turns in one: a processor that waits for another would spin while that has no core."""
    return "multi" if os.cpu_count() >= 2 * AT_ONCE else "single"


class Failed(Exception):
    """What was waited for did not happen; says what was seen instead."""


def kvm_works(kernel: Path) -> bool:
    """Boots the bare kernel for a moment; it must get as far as not finding its root."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) or not kernel.exists():
        return False
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256",
               "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
               "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15)
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root" in done.stdout


DISKS = {
    "virtio": ["-device", "virtio-blk-pci,drive=disk"],
    "scsi": ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"],
    "pvscsi": ["-device", "pvscsi", "-device", "scsi-hd,drive=disk"],
    "ahci": ["-device", "ide-hd,drive=disk,bus=ide.0"],
    "nvme": ["-device", "nvme,serial=tutti,drive=disk"],
    "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=disk"],
}


class EmulatorFailed(Failed):
    """The emulator's own fault, which says nothing of the guest: it ended by a signal (one of its
    assertions, as with changes of the memory map while two processors run), or lost the interrupt
    of a processor's timer, and the kernel waits for that processor for good, or had no time for
    its timer while the kernel tried it."""


# What a kernel says once a minute whose processor had no interrupt of its timer for so long, and
# what one says at its start that had none.
LOST_TIMER, NO_TIMER = b"kthread timer wakeup didn't happen", b"IO-APIC + timer doesn't work"


def said(work: Path) -> str:
    """What the serial console of the machine in `work` has said, without escape sequences."""
    text = (work / "console.log").read_bytes().decode(errors="replace")
    return re.sub(r"\x1b(\[[0-9;?!]*[A-Za-z]|\][^\x07]*\x07|[()].)", "", text).replace("\r", "")


def attempted(name, run, image, work: Path):
    """run(image, work) in an empty directory; once more, which is said, where the emulator failed."""
    def attempt():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        return run(image, work)
    try:
        return attempt()
    except EmulatorFailed as failure:
        print(f"{name}: {failure}; begun again", flush=True)
        return attempt()


class Machine:
    """A running QEMU with a throw-away overlay over the image."""

    def __init__(self, image, work, *, firmware="bios", disk="virtio", nic="virtio-net-pci",
                 credential=None, https=None, accel=None, disk_size=None, variables=None,
                 ways=(), chipset="q35", serial=True, inside=None, extra=()):
        """`credential`: an unattended set-up file; `nic`: None for no network; `variables`: the
        firmware's, else those it is sold with; `ways`: ports here and where they lead there;
        `serial`: whether it has a serial port; `inside`: the network namespace it runs in."""
        self.work = Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.log = self.work / "console.log"
        self.log.write_bytes(b"")
        self.overlay = self.work / "disk.qcow2"
        if not self.overlay.exists():
            size = [disk_size] if disk_size else []
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw",
                            "-b", str(Path(image).resolve()), str(self.overlay), *size], check=True)
        accel = accel or os.environ.get("TUTTI_ACCEL") or "tcg"
        cpu = "host" if accel == "kvm" else CPU
        ways = [*ways, (https, ":443")] if https else ways
        forward = "".join(f",hostfwd=tcp:127.0.0.1:{port}-{there}" for port, there in ways)
        command = [
            "qemu-system-x86_64", "-machine", chipset + self.machine(firmware), "-cpu", cpu,
            "-accel", accel if accel == "kvm" else f"tcg,thread={threads()}",
            "-smp", "2", "-m", "512", "-display", "none", "-monitor", "none", "-nodefaults",
            "-vga", "std",
            "-drive", f"id=disk,if=none,file={self.overlay},format=qcow2,cache=unsafe",
            *DISKS[disk], "-qmp", f"unix:{self.work}/qmp.sock,server=on,wait=off",
            *self.firmware(firmware, variables), *extra,
        ]
        if serial:
            command += ["-chardev", f"socket,id=console,path={self.work}/console.sock,server=on,"
                        f"wait=off,logfile={self.log}", "-serial", "chardev:console"]
        if nic:
            command += ["-netdev", f"user,id=lan{forward}", "-device", f"{nic},netdev=lan"]
        if credential:
            value = base64.b64encode(Path(credential).read_bytes()).decode()
            table = self.work / "smbios"
            # A file, not an argument: arguments are readable by every user of the machine.
            table.touch(mode=0o600)
            table.write_text(f"io.systemd.credential.binary:tutti.setup={value}")
            command += ["-smbios", f"type=11,path={table}"]
        if inside:
            command = ["ip", "netns", "exec", inside, *command]
        self.started = time.monotonic()
        self.stderr = open(self.work / "qemu.log", "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.stderr,
                                        stdout=self.stderr)

    @staticmethod
    def machine(firmware):
        return ",smm=on" if firmware == "secure" else ""

    def firmware(self, kind, given):
        if kind == "bios":
            return []
        code, store = {
            "uefi": ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
            "secure": ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"),
        }[kind]
        variables = self.work / "efi-variables"
        shutil.copy(given or OVMF / store, variables)
        options = ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF / code}",
                   "-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
        if kind == "secure":
            options += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        return options

    def console(self) -> str:
        return said(self.work)

    def alive(self):
        if self.process.poll() is not None:
            kind = EmulatorFailed if self.process.returncode < 0 else Failed
            raise kind(f"QEMU ended by itself ({self.process.returncode}), "
                       f"see {self.work}/qemu.log")
        # Twice: on a busy host a processor may once have stood still so long.
        said = self.log.read_bytes()
        if said.count(LOST_TIMER) > 1 or NO_TIMER in said:
            raise EmulatorFailed(f"the emulator lost the interrupt of a timer, see {self.log}")

    def wait(self, what, condition, timeout):
        """Waits until condition() is true; returns it with the seconds since power-on."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = condition()
            if found:
                return found, time.monotonic() - self.started
            self.alive()
            time.sleep(0.2)
        tail = "\n".join(self.console().splitlines()[-15:])
        raise Failed(f"no {what} within {timeout} s; the console ends with:\n{tail}")

    def wait_console(self, pattern, timeout=300):
        """Waits for a regular expression on the console."""
        expression = re.compile(pattern)
        return self.wait(f"/{pattern}/", lambda: expression.search(self.console()), timeout)

    def monitor(self):
        """A connection to the emulator itself (QMP), which may only just have begun."""
        def attempt():
            monitor = socket.socket(socket.AF_UNIX)
            try:
                monitor.connect(f"{self.work}/qmp.sock")
                return monitor
            except (FileNotFoundError, ConnectionRefusedError):
                monitor.close()
        return self.wait("answer of the emulator", attempt, 60)[0]

    def ask(self, execute, **arguments):
        """One command of QMP, and its answer."""
        with self.monitor() as monitor:
            stream = monitor.makefile("rw")
            stream.readline()
            for command in ({"execute": "qmp_capabilities"},
                            {"execute": execute, "arguments": arguments}):
                stream.write(json.dumps(command))
                stream.flush()
                while "return" not in (reply := json.loads(stream.readline())):
                    if "error" in reply:
                        raise Failed(f"{execute}: {reply['error']['desc']}")
        return reply["return"]

    def writes(self) -> int:
        """How many writes the machine has sent to its disk since power-on."""
        disks = self.ask("query-blockstats")
        return next(d for d in disks if d.get("device") == "disk")["stats"]["wr_operations"]

    def ends(self, begin, timeout) -> str:
        """Begins what ends the machine; why it ended: `guest-reset` or `guest-shutdown`."""
        with self.monitor() as monitor:
            monitor.settimeout(timeout)
            stream = monitor.makefile("rw")
            stream.readline()
            stream.write(json.dumps({"execute": "qmp_capabilities"}))
            stream.flush()
            begin()
            try:
                while line := stream.readline():
                    if json.loads(line).get("event") == "SHUTDOWN":
                        self.process.wait(timeout)
                        return json.loads(line)["data"]["reason"]
            except (TimeoutError, subprocess.TimeoutExpired):
                pass
        tail = "\n".join(self.console().splitlines()[-15:])
        raise Failed(f"still on after {timeout} s; the console ends with:\n{tail}")

    def unplug(self):
        """Cuts the power once the disk has all that was handed to it. (Without a flush by the
        guest, the emulator's own table of the disk's clusters would be lost in `kill`.)"""
        self.process.terminate()
        self.process.wait()

    def kill(self):
        """Cuts the power."""
        self.process.kill()
        self.process.wait()
        self.stderr.close()


def scratch() -> str:
    return tempfile.mkdtemp(prefix="tutti-image-")
