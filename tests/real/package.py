"""Finds a source package of PyPI by pip and opens it, for the scripts beside this one."""

import pathlib
import subprocess
import sys
import tarfile
import tempfile


def open_package(name, version, given):
    """The package's tar archive: `given`, or downloaded by pip from its configured index."""
    if given:
        return tarfile.open(given)
    target = tempfile.mkdtemp()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--no-binary", ":all:", "--dest", target, f"{name}=={version}"]
    subprocess.run(command, check=True)
    return tarfile.open(next(pathlib.Path(target).glob("*.tar.gz")))
