"""Writing files whole, with the mode they need, and only when they change; one process at a time where it matters."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: Path, content: str | bytes, *, mode: int = 0o644) -> bool:
    """Write `content` to `path` in one step, making its folder. Return whether the file changed."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    draft.replace(path)
    return True


def tail(path: Path, *, lines: int = 12, width: int = 400, most_bytes: int = 65_536) -> str:
    """Return the last lines of a text file, long ones cut, or an empty string if there is no such file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most_bytes))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join(line if len(line) <= width else f"{line[:width]}…" for line in last)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that the file stands for, made with its folder if missing; waits while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
