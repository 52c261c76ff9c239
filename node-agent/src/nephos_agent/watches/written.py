"""What we wrote ourselves: it counts at once, and events from before it count no more."""

from __future__ import annotations

from nephos_api.metadata import Resource


class Written:
    """Remembers, by UID, the version of each object that we wrote until the watch has shown it."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}

    def is_news(self, written: Resource, known: Resource | None) -> bool:
        """Tell whether what we wrote is newer than what the watch has shown; then events before it count no more."""
        if known is None or _version(written) <= _version(known):
            return False
        self._versions[written.uid] = _version(written)
        return True

    def is_overtaken(self, seen: Resource) -> bool:
        """Tell whether we wrote the object after what the watch shows now: that is on its way too."""
        if _version(seen) < self._versions.get(seen.uid, 0):
            return True
        self._versions.pop(seen.uid, None)
        return False

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._versions.pop(uid, None)


def is_echo(known: Resource | None, new: Resource) -> bool:
    """Tell whether the watch shows what we wrote ourselves, and have acted on."""
    return known is not None and known.metadata.resource_version == new.metadata.resource_version


def _version(resource: Resource) -> int:
    """Return the resourceVersion as a number: of two of one object, the newer is greater."""
    return int(resource.metadata.resource_version or 0)
