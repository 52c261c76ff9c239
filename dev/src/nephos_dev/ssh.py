"""Logging in to guests from the outside, with a key that is made once for each cloud."""

import subprocess
from pathlib import Path

from nephos_dev import files
from nephos_dev.layout import Layout


def ensure_key(layout: Layout) -> str:
    """Return the public key of this cloud's `ops`, made with its private half if there is none."""
    key = layout.ssh_key
    if not key.is_file():
        key.parent.mkdir(parents=True, exist_ok=True)
        made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"ops@{layout.name}", "-f", str(key))
        subprocess.run(made, check=True, capture_output=True)
    files.write(layout.ssh_settings, render_settings(key))
    return key.with_suffix(".pub").read_text().strip()


def render_settings(key: Path) -> str:
    """Return what ssh is told: guests come and go, and an address is another one's tomorrow."""
    return (
        "Host *\n"
        "  User root\n"
        f'  IdentityFile "{key}"\n'
        "  IdentitiesOnly yes\n"
        "  StrictHostKeyChecking no\n"
        "  UserKnownHostsFile /dev/null\n"
        "  LogLevel ERROR\n"
        "  ConnectTimeout 5\n"
    )


def command(layout: Layout, address: str, *words: str) -> tuple[str, ...]:
    """Return the command line that runs a command in the guest at that address, without asking anything."""
    return ("ssh", "-F", str(layout.ssh_settings), "-o", "BatchMode=yes", address, *words)
