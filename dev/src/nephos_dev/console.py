"""A guest's serial console, as a person would use it: log in, run a command, read what it says."""

import os
import re
import secrets
import termios
import tty
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pexpect
from pexpect import fdpexpect

from nephos_dev.progress import FailureError

_PROMPT = r"[#$] (?:\x1b\[6n)?$"
_PROMPT_AGAIN = r"[#$] "  # what comes after it is the kernel's: a stall of a busy guest, say
_LOGIN = r"login: $"
_PASSWORD = r"[Pp]assword: $"  # noqa: S105  # why: what the console asks, not a secret
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SAID_MEANWHILE = re.compile(r"^(?:tiny: |\[ *\d+\.\d{6}\] ).*\n", re.MULTILINE)
_KNOCK_EVERY_S = 1.0  # QEMU notices within a second that somebody opened the pty; what is typed before is lost


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a command in a guest ended, and what it printed."""

    status: int
    output: str


def printed(shown: str) -> str:
    """Return what a command printed of what the console showed: kernel and services of `tiny` speak there too."""
    return _SAID_MEANWHILE.sub("", _ESCAPES.sub("", shown).replace("\r", "")).strip("\n")


def open_terminal(terminal: Path) -> int:
    """Open the pseudo-terminal of a guest's console and return its descriptor. Raises FailureError if it is gone."""
    try:
        descriptor = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise FailureError(f"the guest's console {terminal} is gone: {error.strerror}") from error
    try:
        tty.setraw(descriptor)
    except termios.error as error:
        os.close(descriptor)
        raise FailureError(f"the guest's console {terminal} is gone: {error.args[-1]}") from error
    return descriptor


class Console:
    """The console behind one pseudo-terminal of QEMU. A context manager: the terminal is closed at its end.

    Everything raises FailureError where QEMU ends meanwhile, and its terminal with it.
    """

    def __init__(self, terminal: Path) -> None:
        self._session = fdpexpect.fdspawn(open_terminal(terminal), encoding="utf-8", codec_errors="replace")

    def __enter__(self) -> "Console":
        return self

    def close(self) -> None:
        """Close the terminal; the guest goes on."""
        self._session.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def log_in(self, user: str = "root", password: str | None = None, *, timeout_s: float = 120) -> None:
        """Reach a shell, whether the console shows a login or one that was left open. Raises FailureError."""
        for _ in range(int(timeout_s / _KNOCK_EVERY_S)):
            self._type("\r")
            try:
                seen = self._expect([_PROMPT, _LOGIN, _PASSWORD], timeout_s=_KNOCK_EVERY_S)
            except pexpect.TIMEOUT:
                continue
            if seen == 0:
                return
            if seen == 1:
                self._type(f"{user}\r")
                self._answer_password(password)
        raise FailureError(f"no shell on the guest's console after {timeout_s:g} s; it shows: {self._last_lines()!r}")

    def run(self, command: str, *, timeout_s: float = 30) -> Answer:
        """Run one shell command after `log_in`. Raises FailureError if it does not end in time."""
        mark = secrets.token_hex(4)
        # The echo of what is typed has a quote inside each mark, what the shell prints has none.
        self._type(f"echo '{mark}'-begin; {command}; echo '{mark}'-end=$?\r")
        try:
            self._expect([rf"{mark}-begin\r*\n(.*?){mark}-end=(\d+)\r*\n"], timeout_s=timeout_s)
            output, status = self._session.match.groups()
            self._expect([_PROMPT_AGAIN], timeout_s=timeout_s)
        except pexpect.TIMEOUT as error:
            message = f"{command!r} did not end in the guest within {timeout_s:g} s; it shows: {self._last_lines()!r}"
            raise FailureError(message) from error
        return Answer(status=int(status), output=printed(output))

    def send_line(self, command: str) -> None:
        """Type a command and don't wait for its end: for those that end the guest."""
        self._type(f"{command}\r")

    def _type(self, text: str) -> None:
        try:
            self._session.send(text)
        except OSError as error:  # EIO: QEMU, which held the other end, is gone
            raise FailureError("the guest's console was closed") from error

    def _expect(self, patterns: list[str], *, timeout_s: float) -> int:
        try:
            return int(self._session.expect(patterns, timeout=timeout_s))
        except pexpect.EOF as error:
            raise FailureError("the guest's console was closed") from error

    def _answer_password(self, password: str | None) -> None:
        if password is None:
            return
        try:
            self._expect([_PASSWORD], timeout_s=10)
        except pexpect.TIMEOUT as error:
            raise FailureError(f"the guest's console asks for no password; it shows: {self._last_lines()!r}") from error
        self._type(f"{password}\r")

    def _last_lines(self) -> str:
        return _ESCAPES.sub("", str(self._session.before or ""))[-300:]
