"""Image: a disk that Servers start from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from nephos_api.fields import LABEL_NAME, Sha256
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import immutable, rule


class ImageFormat(StrEnum):
    """Disk formats, in Glance's words, CamelCase left aside because they are file formats' own names."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VDI = "vdi"
    VHD = "vhd"
    VHDX = "vhdx"
    ISO = "iso"


_HOST_ENDS = "([:/?#]|$)"
_OCTET = "([1-9]?[0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_NUMBER = "(0x[0-9a-f]*|[0-9]+)"

# The rules look at the text of the URL: what CEL's url() returns has no bound, and so would cost too much.
ImageUrl = Annotated[
    str,
    Field(min_length=8, max_length=2048),
    rule(
        "isURL(self) && (self.startsWith('https://') || self.startsWith('http://') || self.startsWith('file:///'))",
        "must be an http:// or https:// address (or file:/// for images of nephos-catalog)",
    ),
    rule(
        "!self.matches('^[a-z]+://[^/?#]*@')",
        "must not carry a user name or password: objects are no place for secrets; use an address that needs none",
    ),
    rule(
        "!self.matches('^https?://([:/?#]|$)')",
        "names no host; write it as in https://images.example.org/debian-12.qcow2",
    ),
    rule(
        "!self.matches('(?i)^https?://(([^/?#]*[.])?localhost[.]?"
        rf"|(0|127|169[.]254|22[4-9]|23[0-9]|24[0-9]|25[0-5])[.][0-9.]*){_HOST_ENDS}')"
        " && !self.matches('(?i)^https?://[[](0{0,4}:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:)')",
        "names a loopback, link-local, multicast or unspecified address, which images are never fetched from;"
        " name the server that has the image",
    ),
    rule(
        f"!self.matches('(?i)^https?://{_NUMBER}([.]{_NUMBER})*[.]?{_HOST_ENDS}')"
        f" || self.matches('^https?://{_OCTET}([.]{_OCTET}){{3}}{_HOST_ENDS}')",
        "names its host by an unusual form of an address; write it in the usual form, such as 192.0.2.10, or a name",
    ),
]


class ImageSource(ApiModel):
    """Where the bytes come from."""

    url: ImageUrl
    """An http or https address; file:// only in nephos-catalog, under the folder that the cloud is set up with."""
    sha256: Annotated[
        str | None,
        Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
        rule(
            "type(self) == string ? self.matches('^[0-9a-f]{64}$') : int(self) >= 0",
            "must be 64 lower-case hexadecimal digits; put quotes around it, YAML reads some checksums as numbers",
        ),
    ] = None
    """Checksum of the file, 64 hexadecimal digits; put quotes around it, YAML reads digits alone as a number."""

    @field_validator("sha256", mode="before")
    @classmethod
    def _pad_number(cls, value: object) -> object:
        return f"{value:064d}" if isinstance(value, int) else value


class ImageProperties(ApiModel):
    """What the guest needs of the machine."""

    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,31}$")] = "x86_64"
    """CPU architecture of the guest."""
    machine_type: Annotated[str | None, Field(pattern=r"^[a-z0-9.-]{1,63}$")] = None
    """QEMU machine type; absent means the cloud's default, q35."""
    firmware: Annotated[str, Field(pattern=r"^(BIOS|UEFI)$", json_schema_extra={"enum": ["BIOS", "UEFI"]})] = "BIOS"
    """BIOS or UEFI."""


class ImageSpec(ApiModel):
    """Where the image comes from and what it needs."""

    source: Annotated[ImageSource, immutable("spec.source")]
    """Where the bytes come from."""
    format: Annotated[ImageFormat, immutable("spec.format")]
    """The file's format; what is found in the file must be the same."""
    min_disk_gib: Annotated[int, Field(ge=0, le=65_536)] = 0
    """The smallest root disk in GiB that a Server of this image may have."""
    min_memory_mib: Annotated[int, Field(ge=0, le=16_777_216)] = 0
    """The least memory in MiB that a Server of this image may have."""
    properties: ImageProperties = ImageProperties()
    """What the guest needs of the machine."""


class ImagePhase(StrEnum):
    """Where the image stands (Glance's words)."""

    QUEUED = "Queued"
    IMPORTING = "Importing"
    ACTIVE = "Active"
    KILLED = "Killed"
    PENDING_DELETE = "PendingDelete"


class ImageStatus(Status):
    """Where the image stands; written by the image service."""

    phase: ImagePhase | None = None
    """Queued, Importing, Active, Killed (it cannot become Active as its spec is) or PendingDelete."""
    sha256: Sha256 | None = None
    """Checksum of the stored file; hosts fetch and keep it under this name."""
    size_bytes: Annotated[int | None, Field(ge=0)] = None
    """Size of the stored file in bytes."""
    virtual_size_bytes: Annotated[int | None, Field(ge=0)] = None
    """Size in bytes of the disk that a guest sees."""
    format: ImageFormat | None = None
    """The format that was found."""
    progress_percent: Annotated[int | None, Field(ge=0, le=100)] = None
    """How much of the file has been fetched."""


class Image(Resource):
    """A disk that Servers start from, fetched once from a URL."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Image",
        plural="images",
        short_names=("img",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progressPercent", "integer", description="percent fetched"),
            Column("Format", ".spec.format"),
            Column("Size", ".status.sizeBytes", "integer", description="bytes of the file"),
            Column("Virtual-Size", ".status.virtualSizeBytes", "integer", wide=True),
            Column("Source", ".spec.source.url", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
    )

    spec: ImageSpec
    status: ImageStatus = ImageStatus()
