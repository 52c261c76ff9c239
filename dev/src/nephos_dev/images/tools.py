"""Runs the programs that build images, one argument list each, and says clearly which step failed."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nephos_dev.progress import FailureError

Report = Callable[[str], None]
"""Takes one line that tells a person what is being done."""


def no_report(_line: str) -> None:
    """Tell nobody."""


class ImageBuildError(FailureError):
    """A step of an image build failed; the message names the step and the reason, `log` says more."""


@dataclass(frozen=True)
class Tools:
    """Runs programs with their output in one log file."""

    log: Path
    report: Report
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def for_image(cls, cache_dir: Path, name: str, *, report: Report, environment: Mapping[str, str]) -> Self:
        """Tools whose log lies beside the cached images; it keeps the last build's output alone."""
        log = cache_dir / "images" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        return cls(log=log, report=report, environment=environment)

    def run(
        self, step: str, arguments: Sequence[str | Path], *, stdin: bytes | None = None, cwd: Path | None = None
    ) -> bytes:
        """Run one program to its end and return what it wrote to standard output.

        Raises:
            ImageBuildError: the program is missing, or ended with a status other than 0.
        """
        command = [str(argument) for argument in arguments]
        program = shutil.which(command[0], path=_search_path())
        if program is None:
            raise ImageBuildError(f"{step}: the program {command[0]} is missing; install {package_of(command[0])}")
        done = subprocess.run(
            [program, *command[1:]],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, "PATH": _search_path(), "LC_ALL": "C.UTF-8", **self.environment},
            check=False,
        )
        self._write_log(step, command, done)
        if done.returncode != 0:
            reason = _last_line(done.stderr) or _last_line(done.stdout) or "no output"
            raise ImageBuildError(f"{step}: {command[0]} ended with status {done.returncode}: {reason}", self.log)
        return done.stdout

    def _write_log(self, step: str, command: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> None:
        with self.log.open("ab") as log:
            log.write(f"== {step}\n$ {shlex.join(command)}\n".encode())
            log.write(done.stderr)
            log.write(f"-> status {done.returncode}, {len(done.stdout)} bytes of output\n".encode())


PACKAGES = {
    "apt-get": "apt",
    "cpio": "cpio",
    "dpkg-deb": "dpkg",
    "lz4": "lz4",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "syslinux": "syslinux",
}
"""The Debian package that holds each program an image build runs."""


def package_of(program: str) -> str:
    """Name the Debian package that holds a program."""
    return f"the Debian package {PACKAGES.get(program, program)}"


def _search_path() -> str:
    # A user's PATH lacks sbin, where Debian keeps sfdisk and the mkfs programs.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin", "/bin"])


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
