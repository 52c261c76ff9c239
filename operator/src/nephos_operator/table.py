"""The objects of one kind, in memory, with indices that answer in constant time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar

from nephos_api.metadata import Key, Resource

R = TypeVar("R", bound=Resource)
Index = Callable[[R], Iterable[Hashable]]

_TOMBSTONES: Final = 4096
"""Deleted objects that are remembered, so that a late answer does not bring them back."""


class Table(Generic[R]):
    """Objects by name and by index. An older version never replaces a newer one, whichever way they come."""

    def __init__(self, kind: type[R], indices: Mapping[str, Index[R]]) -> None:
        self.kind = kind
        self._objects: dict[Key, R] = {}
        self._indices = dict(indices)
        self._by: dict[str, dict[Hashable, dict[Key, R]]] = {name: {} for name in indices}
        self._gone: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._objects)

    def __iter__(self) -> Iterator[R]:
        """Iterate over a snapshot."""
        return iter(tuple(self._objects.values()))

    def key(self, name: str, namespace: str | None = None) -> Key:
        """Return the key of an object of this kind."""
        return Key(self.kind.info.kind, namespace, name)

    def get(self, name: str, namespace: str | None = None) -> R | None:
        """Return the object, or None."""
        return self._objects.get(self.key(name, namespace))

    def find(self, key: Key) -> R | None:
        """Return the object of that key, or None."""
        return self._objects.get(key)

    def by(self, index: str, value: Hashable) -> tuple[R, ...]:
        """Return the objects that the index files under the value."""
        found = self._by[index].get(value)
        return tuple(found.values()) if found else ()

    def count(self, index: str, value: Hashable) -> int:
        """Return how many objects the index files under the value."""
        return len(self._by[index].get(value, ()))

    def put(self, new: R) -> tuple[R | None, R] | None:
        """Take the object in; return (old, new), or None where what is here is as new, or newer."""
        old = self._objects.get(new.key)
        if version(new) <= self._gone.get(new.uid, -1) or (old is not None and version(new) <= version(old)):
            return None
        if old is not None:
            self._unfile(old)
        self._objects[new.key] = new
        for name, index in self._indices.items():
            for value in index(new):
                self._by[name].setdefault(value, {})[new.key] = new
        return old, new

    def remove(self, key: Key, uid: str, as_of: int) -> R | None:
        """Forget the object if it is the one of that UID; return what was here.

        It was gone in the version ``as_of``; in a later one it may be back: a watch by labels tells a label that was
        taken away as a deletion.
        """
        self._gone[uid] = max(as_of, self._gone.get(uid, -1))
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        old = self._objects.get(key)
        if old is None or old.uid != uid:
            return None
        self._unfile(old)
        del self._objects[key]
        return old

    def _unfile(self, old: R) -> None:
        for name, index in self._indices.items():
            for value in index(old):
                filed = self._by[name].get(value)
                if filed is None:
                    continue
                filed.pop(old.key, None)
                if not filed:
                    del self._by[name][value]


def version(resource: Resource) -> int:
    """Return the object's resourceVersion as a number: of two, the newer is greater."""
    return int(resource.metadata.resource_version or 0)
