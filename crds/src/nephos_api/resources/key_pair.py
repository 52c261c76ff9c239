"""KeyPair: a public SSH key that Servers take in."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import LABEL_NAME
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import rule


class KeyPairSpec(ApiModel):
    """The key."""

    public_key: Annotated[
        str,
        Field(min_length=16, max_length=16_384),
        rule(
            r"self.matches('^(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)"
            r"@openssh\\.com) AAAA[A-Za-z0-9+/]+={0,3}( [^\\n]*)?\\n?$')",
            "must be one line of an OpenSSH public key file, such as 'ssh-ed25519 AAAA… me@example.org'",
        ),
    ]
    """One line in OpenSSH's format, as in ~/.ssh/id_ed25519.pub. The private half stays with you."""


class KeyPairStatus(Status):
    """What is known of the key."""

    fingerprint: Annotated[str | None, Field(max_length=128)] = None
    """SHA256:…, as ssh-keygen -l shows it."""


class KeyPair(Resource):
    """A public SSH key that Servers take in at their birth."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="KeyPair",
        plural="keypairs",
        short_names=("kp",),
        columns=(
            Column("Fingerprint", ".status.fingerprint"),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
    )

    spec: KeyPairSpec
    status: KeyPairStatus = KeyPairStatus()
