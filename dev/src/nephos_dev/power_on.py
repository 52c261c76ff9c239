"""Starts a host's init: what a former init has left behind ends first, as it would when a machine is reset."""

import os
import shutil
import sys
from pathlib import Path

from nephos_dev import processes


def main() -> None:
    """Take the file that names the former mount namespace, then the command to become."""
    record, command = Path(sys.argv[1]), sys.argv[2:]
    processes.end_all((processes.recorded_namespace(record),))
    record.unlink(missing_ok=True)
    # a reset clears /run: a libvirtd that found its guests' states there would take their end for a crash of each
    shutil.rmtree(record.parent / "libvirt" / "qemu", ignore_errors=True)
    os.execvp(command[0], command)  # noqa: S606  # why: no shell is wanted, the command is the cloud's own


if __name__ == "__main__":
    main()
