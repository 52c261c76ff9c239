"""Where the objects of a kind lie on the API server."""

from __future__ import annotations

from nephos_api.metadata import KindInfo


def collection_path(info: KindInfo, namespace: str | None = None) -> str:
    """Return the path of all objects of the kind, or of those of one namespace."""
    root = f"/apis/{info.api_version}" if "/" in info.api_version else f"/api/{info.api_version}"
    return f"{root}/namespaces/{namespace}/{info.plural}" if namespace else f"{root}/{info.plural}"


def object_path(info: KindInfo, name: str, namespace: str | None = None) -> str:
    """Return the path of one object."""
    return f"{collection_path(info, namespace)}/{name}"
