"""What ``qemu-img info --output=json`` says of an image. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nephos_api.errors import PermanentFault
from nephos_api.resources.image import ImageFormat

QEMU_FORMATS: Final = {
    "raw": ImageFormat.RAW,
    "qcow2": ImageFormat.QCOW2,
    "vmdk": ImageFormat.VMDK,
    "vdi": ImageFormat.VDI,
    "vpc": ImageFormat.VHD,
    "vhdx": ImageFormat.VHDX,
}
_SELF_CONTAINED_VMDK: Final = frozenset({"monolithicSparse", "streamOptimized"})


@dataclass(frozen=True)
class Found:
    """What an image is."""

    format: ImageFormat
    virtual_size_bytes: int


class _Specific(BaseModel):
    data: dict[str, Any] = Field(default_factory=dict)


class _Info(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    format: str
    virtual_size: int = Field(ge=0)
    filename: str
    backing_filename: str | None = None
    full_backing_filename: str | None = None
    encrypted: bool = False
    format_specific: _Specific = _Specific()


def parse(text: str | bytes) -> Found:
    """Return what the image is. Raises ``PermanentFault`` where it is unusable or refers to anything outside itself."""
    try:
        info = _Info.model_validate_json(text)
    except ValidationError as error:
        raise PermanentFault("qemu-img can't tell what the image is", reason="Unreadable") from error
    if info.format not in QEMU_FORMATS:
        raise PermanentFault(f"the file is of format {info.format}, which Images can't have", reason="UnknownFormat")
    for reference in _references(info):
        raise OutsideReference(reference)
    data = info.format_specific.data
    if info.encrypted or data.get("encrypt"):
        raise PermanentFault("the image is encrypted; upload it in plain", reason="Encrypted")
    if data.get("corrupt"):
        raise PermanentFault("the image is marked as corrupt; repair it with qemu-img check -r", reason="Unreadable")
    return Found(QEMU_FORMATS[info.format], info.virtual_size)


class OutsideReference(PermanentFault):
    """The image refers to something outside of itself."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"the image refers to {reference}; flatten it with qemu-img convert and try again",
            reason="OutsideReference",
        )


def _references(info: _Info) -> Iterator[str]:
    data = info.format_specific.data
    if info.backing_filename or info.full_backing_filename:
        yield "a backing file"
    if data.get("data-file"):
        yield "an external data file"
    if info.format == "vmdk":
        if data.get("create-type") not in _SELF_CONTAINED_VMDK:
            yield f"other files (VMDK of type {data.get('create-type')})"
        if any(extent.get("filename") != info.filename for extent in data.get("extents", [])):
            yield "extents in other files"
