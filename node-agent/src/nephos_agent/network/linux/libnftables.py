"""A typed binding of libnftables' few functions (libnftables(3)): commands in, JSON out, nothing forked.

A context talks to the network namespace of the thread that makes it. Calls block, and a process has one under way at a
time: the library is not thread-safe, whatever the context (it takes the type of a concatenation apart by strtok(3)).
"""

from __future__ import annotations

import ctypes
import json
import threading
from functools import cache
from typing import Any, Final

_ONE_AT_A_TIME: Final = threading.Lock()
_SONAME: Final = "libnftables.so.1"
_OUTPUT_JSON: Final = 1 << 4
_OUTPUT_NUMERIC_PROTOCOLS: Final = 1 << 7
_NO_ENTRY: Final = "No such file or directory"
_OTHER_SHAPES: Final = ("File exists", "Operation not supported", "datatype mismatch", "Expression is not a")
"""The kernel's words about a set or a map, and about a chain; the library's, where rules do not fit them."""


class NftablesError(Exception):
    """The kernel or the library refused the commands; none of them was carried out."""

    @property
    def is_missing(self) -> bool:
        """Whether what the commands speak of is not there."""
        return _NO_ENTRY in str(self)

    @property
    def is_of_another_shape(self) -> bool:
        """Whether what the commands would make is there, with another type, flags or hook."""
        return any(reason in str(self) for reason in _OTHER_SHAPES)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_SONAME)
    context, text = ctypes.c_void_p, ctypes.c_char_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "nft_ctx_new": (context, [ctypes.c_uint32]),
        "nft_ctx_free": (None, [context]),
        "nft_ctx_output_set_flags": (None, [context, ctypes.c_uint]),
        "nft_ctx_buffer_output": (ctypes.c_int, [context]),
        "nft_ctx_buffer_error": (ctypes.c_int, [context]),
        "nft_ctx_get_output_buffer": (text, [context]),
        "nft_ctx_get_error_buffer": (text, [context]),
        "nft_run_cmd_from_buffer": (ctypes.c_int, [context, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Nftables:
    """One context. Raises ``OSError`` where the library is not installed (Debian: libnftables1)."""

    def __init__(self) -> None:
        self._library = _library()
        with _ONE_AT_A_TIME:
            self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise MemoryError("nft_ctx_new")
        self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON | _OUTPUT_NUMERIC_PROTOCOLS)
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> dict[str, Any]:
        """Carry out commands, as JSON or in nft's own language, in one transaction; return what they print.

        Raises ``NftablesError``.
        """
        with _ONE_AT_A_TIME:
            code = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
            output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
            error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if code != 0:
            raise NftablesError(error.decode(errors="replace").strip())
        parsed: dict[str, Any] = json.loads(output) if output.strip() else {"nftables": []}
        return parsed

    def close(self) -> None:
        """Free the context."""
        if self._context:
            with _ONE_AT_A_TIME:
                self._library.nft_ctx_free(self._context)
            self._context = None
