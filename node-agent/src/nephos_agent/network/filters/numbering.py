"""Numbers for what the filters cannot hold by name. Pure: what the kernel's maps have already keeps its number."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

_LAST: Final = 0xFFFF
"""16 bits; 0 stands for nothing."""


class NumbersExhausted(Exception):
    """There are as many names as numbers."""


@dataclass
class Numbers:
    """Numbers from 1 to 65,535 by name: where the name's digest says, or at the next free place behind it."""

    _by_name: dict[str, int] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)

    def learn(self, name: str, number: int) -> None:
        """Take note of a number that is in use."""
        self._by_name[name] = number
        self._names[number] = name

    def number(self, name: str) -> int:
        """Return the name's number, a free one if it has none yet. Raises ``NumbersExhausted``."""
        if name not in self._by_name:
            self.learn(name, self._free(name))
        return self._by_name[name]

    def known(self, name: str) -> int | None:
        """Return the name's number if it has one."""
        return self._by_name.get(name)

    def name(self, number: int) -> str:
        """Return whose number it is; one that was never learnt gets a name that nothing else has."""
        if number not in self._names:
            self.learn(f"#{number}", number)
        return self._names[number]

    def forget(self, name: str) -> None:
        """Give the name's number back."""
        number = self._by_name.pop(name, None)
        if number is not None:
            del self._names[number]

    def _free(self, name: str) -> int:
        if len(self._names) >= _LAST:
            raise NumbersExhausted(f"no number is left for {name}")
        place = int.from_bytes(sha256(name.encode()).digest()[:4]) % _LAST
        while place + 1 in self._names:
            place = (place + 1) % _LAST
        return place + 1


@dataclass
class Numbering:
    """All numbers of a host."""

    devices: Numbers = field(default_factory=Numbers)
    networks: Numbers = field(default_factory=Numbers)
    """By the name of the bridge; the connection-tracking zones."""
    policies: Numbers = field(default_factory=Numbers)
