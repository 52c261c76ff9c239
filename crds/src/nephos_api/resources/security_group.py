"""SecurityGroup: what may come in to, and go out of, the Ports that use it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPv4Or6Prefix, Name, Sentence, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import rule


class Direction(StrEnum):
    """As the guest sees it: Ingress comes in to it, Egress leaves it."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class IPFamily(StrEnum):
    """Which IP version a rule speaks of."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


Protocol = Annotated[
    str,
    Field(min_length=1, max_length=6),
    rule(
        "self in ['TCP', 'UDP', 'ICMP', 'ICMPv6', 'SCTP']"
        " || self.matches('^(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$')",
        "must be TCP, UDP, ICMP, ICMPv6, SCTP, or a protocol's number from 0 to 255 in quotes, such as '47'",
    ),
]
"""A protocol by its name, or by its number (IANA's Protocol Numbers) as a string."""

PortNumber = Annotated[int, Field(ge=1, le=65_535)]


class SecurityGroupRule(ApiModel):
    """What is allowed: packets that match everything that the rule says."""

    direction: Direction
    """Ingress or Egress, as the guest sees it."""
    family: IPFamily | None = None
    """IPv4 or IPv6; absent means what remoteCIDR or protocol says, else both."""
    protocol: Protocol | None = None
    """TCP, UDP, ICMP, ICMPv6, SCTP, or a number; absent means all."""
    port_min: PortNumber | None = None
    """The first destination port, of TCP, UDP and SCTP; absent means all ports."""
    port_max: PortNumber | None = None
    """The last destination port; absent means portMin alone."""
    icmp_type: Annotated[int | None, Field(ge=0, le=255)] = None
    """Type of the message, of ICMP and ICMPv6; absent means all."""
    icmp_code: Annotated[int | None, Field(ge=0, le=255)] = None
    """Code of the message; absent means all of the type."""
    remote_cidr: Annotated[IPv4Or6Prefix | None, Field(alias="remoteCIDR")] = None
    """The other side's addresses; absent (and no remoteGroup) means everybody."""
    remote_group: Name | None = None
    """The other side is a Port of this SecurityGroup, in the same namespace."""
    description: Sentence = ""
    """For people."""


_PORTS = "['TCP', 'UDP', 'SCTP', '6', '17', '132']"
_ICMP = "['ICMP', 'ICMPv6', '1', '58']"


CheckedRule = Annotated[
    SecurityGroupRule,
    rule(
        f"!(has(self.portMin) || has(self.portMax)) || (has(self.protocol) && self.protocol in {_PORTS})",
        "portMin and portMax belong to protocols with ports; set protocol to TCP, UDP or SCTP, or leave the ports out",
    ),
    rule("!has(self.portMax) || has(self.portMin)", "portMax needs portMin, the first port of the range"),
    rule(
        "!has(self.portMin) || !has(self.portMax) || self.portMin <= self.portMax",
        "portMin is greater than portMax; swap them",
    ),
    rule(
        f"!has(self.icmpType) || (has(self.protocol) && self.protocol in {_ICMP})",
        "icmpType belongs to ICMP; set protocol to ICMP or ICMPv6, or leave it out",
    ),
    rule("!has(self.icmpCode) || has(self.icmpType)", "icmpCode needs icmpType"),
    rule(
        "!has(self.remoteCIDR) || !has(self.remoteGroup)",
        "remoteCIDR and remoteGroup exclude each other; write one rule for each",
    ),
    rule(
        "!has(self.remoteCIDR) || !isCIDR(self.remoteCIDR) || !has(self.family)"
        " || cidr(self.remoteCIDR).ip().family() == (self.family == 'IPv4' ? 4 : 6)",
        "remoteCIDR is not of the family that the rule names",
    ),
    rule(
        "!has(self.protocol) || !(self.protocol in ['ICMP', '1'])"
        " || ((!has(self.family) || self.family == 'IPv4')"
        " && (!has(self.remoteCIDR) || !isCIDR(self.remoteCIDR) || cidr(self.remoteCIDR).ip().family() == 4))",
        "protocol ICMP is IPv4's; for IPv6 write ICMPv6",
    ),
    rule(
        "!has(self.protocol) || !(self.protocol in ['ICMPv6', '58'])"
        " || ((!has(self.family) || self.family == 'IPv6')"
        " && (!has(self.remoteCIDR) || !isCIDR(self.remoteCIDR) || cidr(self.remoteCIDR).ip().family() == 6))",
        "protocol ICMPv6 is IPv6's; for IPv4 write ICMP",
    ),
]


MOST_RULES: Final = 256
MOST_DEFAULT_RULES: Final = 16


class SecurityGroupSpec(ApiModel):
    """Allow-only rules; a Port takes what any of its groups allows. Replies to what was allowed always pass."""

    description: Sentence = ""
    """For people."""
    rules: Annotated[tuple[CheckedRule, ...], Field(max_length=MOST_RULES)] = ()
    """What is allowed beside defaultRules."""
    default_rules: Annotated[tuple[CheckedRule, ...], Field(max_length=MOST_DEFAULT_RULES)] = (
        SecurityGroupRule(direction=Direction.EGRESS, family=IPFamily.IPV4),
        SecurityGroupRule(direction=Direction.EGRESS, family=IPFamily.IPV6),
    )
    """What every new group allows, OpenStack's way: everything may leave. Write [] for a group that allows only what
    its rules say."""


class RemoteGroup(ApiModel):
    """A group that a rule names, as the operator found it."""

    name: Name
    """Its name."""
    uid: Uid
    """Its UID."""


class SecurityGroupStatus(Status):
    """What the operator found."""

    remote_groups: Annotated[tuple[RemoteGroup, ...], Field(max_length=MOST_RULES + MOST_DEFAULT_RULES)] = ()
    """The groups that its rules name and that exist; rules that name others match nothing yet."""
    rule_count: Annotated[int | None, Field(ge=0)] = None
    """How many rules it has, those of defaultRules included."""


class SecurityGroup(Resource):
    """What may come in to, and go out of, the Ports that use it."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="SecurityGroup",
        plural="securitygroups",
        short_names=("sg",),
        columns=(
            Column("Rules", ".status.ruleCount", "integer"),
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Description", ".spec.description", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
    )

    spec: SecurityGroupSpec = SecurityGroupSpec()
    status: SecurityGroupStatus = SecurityGroupStatus()
