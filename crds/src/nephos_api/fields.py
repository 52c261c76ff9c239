"""Field types that several kinds share, each with its bounds, so that a bad value is refused at apply."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from nephos_api.schema.rules import rule

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A name of an object in the same namespace: a DNS label (RFC 1123)."""

Uid = Annotated[str, Field(min_length=1, max_length=36)]
"""A Kubernetes UID."""

ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
"""A name of an object whose names are DNS subdomains, such as a Host (a node's name)."""

IPAddress = Annotated[
    str,
    Field(min_length=2, max_length=45),
    rule("isIP(self)", "must be an IP address, such as 10.10.0.11"),
    rule("!isIP(self) || ip.isCanonical(self)", "write the address in its short form in lower case, such as fd00::1"),
]

IPv4Or6Prefix = Annotated[
    str,
    Field(min_length=4, max_length=49),
    rule("isCIDR(self)", "must be a network in CIDR notation, such as 10.10.0.0/24"),
    rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "has host bits set; write the network's own address, such as 10.10.0.0/24 instead of 10.10.0.5/24",
    ),
]

AddressOrPrefix = Annotated[
    str,
    Field(min_length=2, max_length=49),
    rule("isIP(self) || isCIDR(self)", "must be an IP address or a network, such as 10.10.0.11 or 10.10.0.0/24"),
    rule("!isIP(self) || ip.isCanonical(self)", "write the address in its short form in lower case, such as fd00::1"),
    rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "has host bits set; write the network's own address, such as 10.10.0.0/24 instead of 10.10.0.5/24",
    ),
]

MacAddress = Annotated[
    str,
    Field(min_length=17, max_length=17, pattern=r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"),
    rule("self != '00:00:00:00:00:00'", "is no interface's address; choose one such as 52:54:00:12:34:56"),
]
"""A unicast MAC address in lower case, such as 52:54:00:12:34:56."""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]

SENTENCE_MOST: Final = 1024
Sentence = Annotated[str, Field(max_length=SENTENCE_MOST)]

LIST_MOST: Final = 2048
JoinedList = Annotated[str, Field(max_length=LIST_MOST)]
"""Names or addresses in one string, for people: a column shows one value only. Of very many, the first."""

Timestamp = Annotated[str, Field(max_length=32)]
"""RFC 3339, UTC, microseconds where a duration is read off it."""

LABEL_NAME = rule(
    "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
    "metadata.name: use at most 63 lower-case letters, digits and '-', so that other objects can refer to it",
    field_path=".metadata.name",
)
"""The rule of kinds that others refer to by ``Name``."""
