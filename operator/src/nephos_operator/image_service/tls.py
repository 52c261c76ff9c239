"""Mutual TLS for hosts: the cloud's CA, certificates that rotate, and who may read images."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HOST_ORGANIZATION: Final = "nephos-host"
"""The organization in the certificate of every host."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the cloud's CA, this service's certificate and key."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def version(self) -> tuple[int, ...]:
        """What changes when one of the files is replaced."""
        return tuple(path.stat().st_mtime_ns for path in (self.ca, self.certificate, self.key))

    def server_context(self) -> ssl.SSLContext:
        """Return a context that lets in whom the CA vouches for; new connections get the files as they are then."""
        loaded = _Loaded(self)
        loaded.context.sni_callback = loaded.choose
        return loaded.context


class _Loaded:
    """The files as they were last read. A handshake asks whether they changed, so nothing has to poll."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._version = files.version
        self.context = _load(files)

    def choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        if (version := self._files.version) != self._version:
            self.context, self._version = _load(self._files), version
        connection.context = self.context


def _load(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    return context


def is_host(peer_certificate: dict[str, Any] | None) -> bool:
    """Tell whether a verified certificate (as ``ssl`` gives it) is a host's."""
    names = [pair for group in (peer_certificate or {}).get("subject", ()) for pair in group]
    return ("organizationName", HOST_ORGANIZATION) in names
