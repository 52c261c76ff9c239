"""Every error that Nephos raises on purpose. The work queue is the one place that decides what is retried.

::

    NephosError
    ├── TemporaryFault            may go away by itself: retried with backoff
    │   ├── ApiUnavailable        the API server did not answer, or is overloaded
    │   ├── Conflict              somebody wrote the object first; look again
    │   └── Expired               the resourceVersion to go on from is too old: list again
    ├── PermanentFault            stays until somebody changes the spec: Stalled
    └── Refused                   the API server refused the request (invalid, forbidden): a bug or missing rights
"""

from __future__ import annotations


class NephosError(Exception):
    """The root of the tree."""


class TemporaryFault(NephosError):
    """A fault that may go away by itself; ``reason`` is CamelCase for programs, ``message`` a sentence for people."""

    def __init__(self, message: str, *, reason: str = "TemporaryFault") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class ApiUnavailable(TemporaryFault):
    """The API server did not answer, or asked to come back later."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="ApiUnavailable")


class Conflict(TemporaryFault):
    """Somebody wrote the object first, or it exists already."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Conflict")


class Expired(TemporaryFault):
    """The resourceVersion that a watch or a list should go on from is too old: list again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Expired")


class PermanentFault(NephosError):
    """A fault that stays until somebody changes the spec; the object ends in Stalled with this reason and message."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class Refused(NephosError):
    """The API server refused a request as invalid or forbidden.

    ``code`` is the HTTP status, ``reason`` the word for programs: the Status' first cause where it names one
    (``NamespaceTerminating``, ``FieldValueInvalid``), else its reason (``Invalid``, ``Forbidden``).
    """

    def __init__(self, message: str, *, code: int, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
