"""The base of every model: frozen, camelCase on the wire, snake_case in Python."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

_SPELLED: Final = {
    "mib": "MiB",
    "gib": "GiB",
    "ip": "IP",
    "ips": "IPs",
    "uid": "UID",
    "cidr": "CIDR",
    "id": "ID",
    "vni": "VNI",
    "vlan": "VLAN",
}


def wire_name(field_name: str) -> str:
    """Turn a Python field name into its JSON name: ``memory_mib`` → ``memoryMiB``, ``network_uid`` → ``networkUID``."""
    first, *rest = field_name.rstrip("_").split("_")
    return first + "".join(_SPELLED.get(word, word.capitalize()) for word in rest)


class ApiModel(BaseModel):
    """A frozen piece of an object. Unknown fields are ignored on reading, so that older code reads newer objects."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=wire_name,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
