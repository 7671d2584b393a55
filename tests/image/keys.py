"""Secure Boot by the builder's keys: what a machine starts that trusts them, and what it does not."""

import os
import shutil
import ssl
import struct
import subprocess
import tarfile
import uuid
from pathlib import Path

from faults import words
from machine import OVMF
from system import SETUP, switched_on

ESP = "2M"  # It follows the BIOS boot partition (image/layout.sh).
SIGNING = Path(__file__).resolve().parents[2] / "image/signing.sh"


def from_esp(image, name, to):
    subprocess.run(["mcopy", "-n", "-i", f"{image}@@{ESP}", f"::/{name}", str(to)], check=True)
    return to


def variables(work, image, stock):
    """A firmware's variables with the builder's certificate, beside stock keys or alone."""
    der = from_esp(image, "tutti.cer", work / "tutti.cer")
    certificate = work / "tutti.pem"
    certificate.write_text(ssl.DER_cert_to_PEM_cert(der.read_bytes()))
    owner, path = str(uuid.uuid4()), work / ("both.fd" if stock else "own.fd")
    add = ["--add-db", owner, str(certificate)]
    if not stock:
        add += ["--set-pk", owner, str(certificate), "--add-kek", owner, str(certificate),
                "--secure-boot"]
    given = OVMF / ("OVMF_VARS_4M.ms.fd" if stock else "OVMF_VARS_4M.fd")
    subprocess.run(["virt-fw-vars", "-i", str(given), "-o", str(path), *add], check=True,
                   capture_output=True)
    return path


def own_keys(image, work):
    """From stock keys to the builder's; then a slot that was altered."""
    started = "tutti secure-boot --json | tr -d ' \\n'"
    both, own = (variables(work, image, stock) for stock in (True, False))
    with switched_on(image, work, firmware="secure", credential=SETUP) as system:
        system.answers()
        system.log_in()
        assert "stock_keys" in system.run(started)
        refused = system.run("tutti secure-boot --use own")
        assert "does not trust the builder's certificate yet" in refused, refused
        system.run("sync")
    with switched_on(image, work, firmware="secure", variables=both) as system:
        system.answers()
        system.log_in()
        assert "stock_keys" in system.run(started)
        system.run("tutti secure-boot --use own; sync")
    with switched_on(image, work, firmware="secure", variables=both) as system:
        system.answers()
        system.log_in()
        assert '"own_keys":{"others":true}' in system.run(started)
        system.run("sync")
    with switched_on(image, work, firmware="secure", variables=own) as system:
        system.answers()
        system.log_in()
        assert '"own_keys":{"others":false}' in system.run(started)
        system.sound()
        system.expect("grub-editenv /efi/grub/grubenv list | grep -x A_TRY=0", "A_TRY=0")
        system.run("mkdir /tmp/boot && mount /dev/tutti/boot-a /tmp/boot && printf x | "
                   "dd of=/tmp/boot/tutti.efi bs=1 seek=20000000 conv=notrunc; umount /tmp/boot; sync")
    with switched_on(image, work, firmware="secure", variables=own) as system:
        system.shows("bad signature")
    assert "Linux version" not in system.machine.console()


def gone_over(image, work):
    """The image with the builder's boot loader in the place where firmware looks, as `tutti
    secure-boot --use own` leaves it."""
    own = work / "own.img"
    subprocess.run(["cp", "--sparse=always", str(image), str(own)], check=True)
    loader = from_esp(image, "EFI/tutti/grubx64.efi", work / "grubx64.efi")
    subprocess.run(["mcopy", "-o", "-i", f"{own}@@{ESP}", str(loader), "::/EFI/BOOT/BOOTX64.EFI"],
                   check=True)
    return own


def unsigned(program: bytes) -> bytes:
    """An EFI program without its signatures."""
    header = struct.unpack_from("<I", program, 0x3C)[0]
    table = header + 24 + 144  # Certificate Table, in the optional header of PE32+
    at, size = struct.unpack_from("<II", program, table)
    assert at and size, "it has no signature"
    return program[:table] + bytes(8) + program[table + 8:at]


def disk_of(work, files):
    """A second disk that holds a tar archive."""
    path = work / "files.tar"
    with tarfile.open(path, "w") as archive:
        for file in files:
            archive.add(file, file.name)
    with open(path, "ab") as disk:
        disk.truncate(64 << 20)
    return ["-drive", f"id=files,if=none,format=raw,readonly=on,file={path}",
            "-device", "virtio-blk-pci,drive=files"]


def signed_for_grub(file):
    """The builder's OpenPGP signature beside a file, as a slot's image has one: GRUB is content."""
    cache = Path(os.environ.get("TUTTI_CACHE", Path.home() / ".cache/tutti"))
    keys = subprocess.run([str(SIGNING), str(cache / "image")], check=True, capture_output=True,
                          text=True).stdout.strip()
    home = file.parent / "gpg"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run([*gpg, "--import", f"{keys}/pgp.key"], check=True)
    subprocess.run([*gpg, "--digest-algo", "SHA512", "--detach-sign", str(file)], check=True)
    subprocess.run(["gpgconf", "--kill", "all"], check=True, env={**os.environ, "GNUPGHOME": str(home)})
    # The agent removes its sockets itself, perhaps meanwhile.
    shutil.rmtree(home, ignore_errors=True)
    return file.with_name(file.name + ".sig")


def strangers(image, work):
    """What lies on the disk unsigned decides nothing; programs of others are not started."""
    own_image, trust = gone_over(image, work), variables(work, image, False)
    others = from_esp(image, "EFI/BOOT/BOOTX64.EFI", work / "foreign.efi")
    none = work / "unsigned.efi"
    none.write_bytes(unsigned(others.read_bytes()))
    files = [others, signed_for_grub(others), none, signed_for_grub(none)]

    def on(**more):
        return switched_on(own_image, work, firmware="secure", variables=trust,
                           extra=disk_of(work, files), **more)

    def put(system, slot, command):
        said = system.run(f"mkdir -p /tmp/boot && mount /dev/tutti/boot-{slot} /tmp/boot && {command} "
                          "&& umount /tmp/boot && sync && echo done")
        assert said == "done", said

    with on(credential=SETUP) as system:
        system.answers()
        system.log_in()
        system.expect("grub-editenv /efi/grub/grubenv list | grep -x A_TRY=0", "A_TRY=0")
        system.run("grub-editenv /efi/grub/grubenv set own=0 check_signatures=no root=hd9 esp=none "
                   "prefix=/x timeout=-1")
        put(system, "a", "echo 'echo A stranger decides; sleep 9' > /tmp/boot/slot.cfg")
    with on() as system:
        system.answers()
        assert "A stranger decides" not in system.machine.console()
        system.log_in()
        assert '"own_keys":{"others":false}' in system.run("tutti secure-boot --json | tr -d ' \\n'")
        # And one that is no environment at all: the slot is started all the same.
        system.run("head -c 1024 /dev/urandom > /efi/grub/grubenv; sync")
    with on() as system:
        system.answers()
        system.log_in()
        system.expect("grub-editenv /efi/grub/grubenv list | grep -x A_OK=1", "A_OK=1")
        system.sound()
        system.run("tar xf /dev/vdb -C /tmp && cat /dev/tutti/boot-a > /dev/tutti/boot-b")
        for slot, name in (("a", "foreign"), ("b", "unsigned")):
            put(system, slot, f"for end in '' .sig; do "
                              f"cp /tmp/{name}.efi$end /tmp/boot/tutti.efi$end; done")
    with on() as system:
        system.shows(words("Neither slot of this disk starts"))
        said = system.machine.console()
        assert "Linux version" not in said
        assert "bad signature" not in said, "GRUB refused it, so the firmware was not asked"


CASES = {
    "own-keys": ("a machine that trusts the builder's keys alone starts what he signed, and "
                 "nothing that was altered", own_keys),
    "own-keys-strangers": ("under the builder's keys no unsigned file decides how it starts, and no "
                           "unsigned or foreign program is started", strangers),
}
