"""A person's terminal joined with a guest's serial console."""

import os
import select
import sys
import termios
import tty
from pathlib import Path

from nephos_dev.console import open_terminal

_LEAVE = b"\x1d"  # Ctrl-], as in virsh and telnet
_CHUNK_BYTES = 4096


def attach(terminal: Path) -> None:
    """Copy keys to the guest's terminal and its output back until Ctrl-] or the end of either.

    Raises FailureError if the terminal is gone.
    """
    guest = open_terminal(terminal)
    person = sys.stdin.fileno()
    before = termios.tcgetattr(person)
    tty.setraw(person)
    try:
        _copy(person, guest)
    finally:
        termios.tcsetattr(person, termios.TCSADRAIN, before)
        os.close(guest)
        print()


def _copy(person: int, guest: int) -> None:
    while True:
        readable, _, _ = select.select([person, guest], [], [])
        if guest in readable:
            try:
                output = os.read(guest, _CHUNK_BYTES)
            except OSError:  # EIO: QEMU, which held the other end, is gone
                return
            os.write(sys.stdout.fileno(), output)
        if person in readable:
            keys = os.read(person, _CHUNK_BYTES)
            if not keys or _LEAVE in keys:
                return
            os.write(guest, keys)
