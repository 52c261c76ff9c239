"""Kubernetes' own kinds, as far as the operator reads them."""

from __future__ import annotations

from typing import ClassVar

from nephos_api.metadata import KindInfo, Resource
from nephos_api.model import ApiModel


class NamespaceStatus(ApiModel):
    """Where the namespace stands."""

    phase: str = ""
    """Active or Terminating."""


class Namespace(Resource):
    """A namespace; those labelled ``nephos.cloud/project`` are read."""

    info: ClassVar[KindInfo] = KindInfo(kind="Namespace", plural="namespaces", namespaced=False, api_version="v1")

    status: NamespaceStatus = NamespaceStatus()
