"""Server: a virtual machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.fields import IPAddress, JoinedList, MacAddress, Name, ObjectName, Sentence, Sha256, Timestamp, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.resources.image import ImageFormat
from nephos_api.schema.rules import immutable, rule

InterfaceName = Annotated[str, Field(min_length=1, max_length=15, pattern=r"^[a-z0-9]+$")]


class NetworkInterface(ApiModel):
    """A NIC of a Server. Its Port is named <server>-<name>."""

    name: InterfaceName = "net0"
    """Lower-case letters and digits; each NIC of a Server has its own name."""
    network: Name
    """The Network in the same namespace, or a shared one in nephos-catalog."""
    addresses: Annotated[tuple[IPAddress, ...], Field(max_length=16)] = ()
    """Addresses that it asks for; absent means a free one of each IP version that the Network has."""
    port: Name | None = None
    """A Port that is there already, in the same namespace, instead of one of the Server's own: it outlives the Server,
    and brings its addresses and MAC along."""


FixedInterface = Annotated[
    NetworkInterface,
    rule(
        "self.network == oldSelf.network && has(self.port) == has(oldSelf.port)"
        " && (!has(self.port) || self.port == oldSelf.port)"
        " && has(self.addresses) == has(oldSelf.addresses)"
        " && (!has(self.addresses) || self.addresses == oldSelf.addresses)",
        "spec.networks: network, addresses and port of an entry can't be changed;"
        " take the entry away, and add another with another name",
        reason="FieldValueForbidden",
    ),
    rule(
        "!has(self.port) || !has(self.addresses) || self.addresses.size() == 0",
        "addresses of an entry with a port are those of the Port; leave them out",
        field_path=".addresses",
    ),
]


class ServerState(StrEnum):
    """What a Server should be."""

    ACTIVE = "Active"
    SHUTOFF = "Shutoff"


class RestartPolicy(StrEnum):
    """What happens when the guest ends by itself."""

    NEVER = "Never"
    ON_FAILURE = "OnFailure"
    ALWAYS = "Always"


class ServerSpec(ApiModel):
    """What the Server should be."""

    flavor: Annotated[Name, immutable("spec.flavor")]
    """Its size: the name of a Flavor."""
    image: Annotated[Name, immutable("spec.image")]
    """What its disk is made from: an Image in the same namespace, or in nephos-catalog."""
    networks: Annotated[
        tuple[FixedInterface, ...],
        Field(max_length=16, json_schema_extra={"mapKey": "name"}),
        rule(
            "self.all(nic, !has(nic.addresses) || nic.addresses.all(a, self.filter(other,"
            " other.network == nic.network && has(other.addresses) && a in other.addresses).size() == 1))",
            "spec.networks: two entries ask for the same address of one network; give each its own",
        ),
        rule(
            "self.all(nic, !has(nic.port)"
            " || self.filter(other, has(other.port) && other.port == nic.port).size() == 1)",
            "spec.networks: two entries name the same port; a Port is one NIC",
        ),
    ] = ()
    """Its NICs, in order; each gets a Port, a MAC address and an address. NICs may be added and taken away while it
    runs."""
    security_groups: Annotated[tuple[Name, ...] | None, Field(max_length=16)] = None
    """SecurityGroups of its own Ports, in the same namespace or in nephos-catalog; absent means [default], [] none.
    A change acts on the running Server."""
    server_group: Annotated[Name | None, immutable("spec.serverGroup")] = None
    """The ServerGroup, in the same namespace, that says with or apart from whom it runs."""
    key_pairs: Annotated[tuple[Name, ...], Field(max_length=16), immutable("spec.keyPairs")] = ()
    """KeyPairs, in the same namespace, whose keys the guest takes in at its first boot."""
    user_data: Annotated[str | None, Field(max_length=65_535), immutable("spec.userData")] = None
    """What the guest runs at its first boot (a shell script, cloud-config …); no place for secrets."""
    config_drive: Annotated[bool, immutable("spec.configDrive")] = False
    """Give metadata on a disk too, for guests without DHCP or for early boot."""
    metadata: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=255)],
            Annotated[str, Field(max_length=255)],
        ],
        Field(max_length=128),
    ] = Field(default_factory=dict)
    """Key and value pairs that the guest can read from the metadata service."""
    availability_zone: Annotated[Name | None, immutable("spec.availabilityZone")] = None
    """The zone of its Host; absent means any."""
    state: ServerState = ServerState.ACTIVE
    """What it should be: Active (running) or Shutoff."""
    restart_policy: RestartPolicy = RestartPolicy.NEVER
    """What happens when the guest ends by itself: Never (it stays Shutoff until a ServerAction Start or a change of
    the spec), OnFailure (it is started again if it crashed), Always."""


class ServerPhase(StrEnum):
    """Where the Server stands (Nova's API status). Those that this version reaches."""

    BUILD = "Build"
    ACTIVE = "Active"
    SHUTOFF = "Shutoff"
    PAUSED = "Paused"
    REBOOT = "Reboot"
    HARD_REBOOT = "HardReboot"
    ERROR = "Error"
    UNKNOWN = "Unknown"
    DELETING = "Deleting"


MOST_ADDRESSES: Final = 256
"""Addresses that a Server's status names; its Ports have them all."""


class ServerAddress(ApiModel):
    """An address of the Server."""

    name: InterfaceName
    """The NIC."""
    network: Name
    """The Network."""
    address: IPAddress
    """The address."""
    mac: MacAddress
    """The NIC's MAC address."""


class ServerFlavor(ApiModel):
    """The Flavor's values, as they were when the Server was made."""

    name: Name
    """The Flavor's name."""
    vcpus: Annotated[int, Field(ge=1)]
    """Virtual CPUs."""
    memory_mib: Annotated[int, Field(ge=1)]
    """Memory in MiB."""
    disk_gib: Annotated[int, Field(ge=1)]
    """Root disk in GiB."""


class ServerImage(ApiModel):
    """The Image's content, as it was when the Server was made."""

    name: Name
    """The Image's name."""
    namespace: Name
    """Where it was found: the Server's own namespace, or nephos-catalog."""
    uid: Uid
    """Its UID."""
    sha256: Sha256
    """Its content."""
    format: ImageFormat
    """Its format."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Bytes of the file."""
    virtual_size_bytes: Annotated[int, Field(ge=0)]
    """Bytes of the disk."""
    machine_type: Annotated[str | None, Field(max_length=63)] = None
    """QEMU machine type that the image asks for."""
    firmware: Annotated[str, Field(max_length=15)] = "BIOS"
    """BIOS or UEFI."""


class ServerKey(ApiModel):
    """A public key, as it was when the Server was made."""

    name: Name
    """The KeyPair's name."""
    public_key: Annotated[str, Field(max_length=16_384)]
    """In OpenSSH's format."""


class PlacementRefusal(ApiModel):
    """The agent's word that the Server does not fit on its host."""

    epoch: Annotated[int, Field(ge=1)]
    """The placementEpoch that is refused."""
    reason: Sentence
    """Why, in a sentence."""


class ServerStatus(Status):
    """Where the Server stands.

    The operator owns host, placementEpoch, addresses, flavor, image and keyPairs, and phase and conditions while the
    Server is unplaced; the agent of the host owns the rest.
    """

    phase: ServerPhase | None = None
    """Where the Server stands."""
    host: ObjectName | None = None
    """The Host that it runs on."""
    placement_epoch: Annotated[int | None, Field(ge=1)] = None
    """Grows with every placement; what an older one still does is refused."""
    placement_refused: PlacementRefusal | None = None
    """The agent's word that the Server does not fit on its host."""
    addresses: Annotated[tuple[ServerAddress, ...], Field(max_length=MOST_ADDRESSES)] = ()
    """Its addresses."""
    floating_ip_list: JoinedList | None = None
    """Its floating addresses in one string, for people."""
    address_list: JoinedList | None = None
    """The addresses in one string, for people."""
    flavor: ServerFlavor | None = None
    """The Flavor's values."""
    image: ServerImage | None = None
    """The Image's content."""
    key_pairs: Annotated[tuple[ServerKey, ...], Field(max_length=16)] = ()
    """The keys that the guest takes in."""
    phase_transitions: Annotated[dict[Annotated[str, Field(max_length=31)], Timestamp], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """When each phase was last entered (RFC 3339 with microseconds)."""
    stopped_at_generation: Annotated[int | None, Field(ge=0)] = None
    """The generation at which the guest powered itself off and stays so; a change of the spec starts it again."""


class Server(Resource):
    """A virtual machine."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Server",
        plural="servers",
        short_names=("srv",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Flavor", ".spec.flavor"),
            Column("Image", ".spec.image"),
            Column("Addresses", ".status.addressList"),
            Column("Floating-IP", ".status.floatingIPList"),
            Column("Host", ".status.host", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".status.host", ".spec.serverGroup"),
        rules=(
            rule(
                "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 47",
                "metadata.name is the guest's host name too, and its ports are named after it:"
                " use at most 47 lower-case letters, digits and '-'",
                field_path=".metadata.name",
            ),
        ),
    )

    spec: ServerSpec
    status: ServerStatus = ServerStatus()
