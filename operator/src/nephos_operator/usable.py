"""Whether what an object names, or belongs to, is there, and stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from nephos_api.metadata import CATALOG_NAMESPACE, Key, Resource
from nephos_api.resources import Project
from nephos_api.resources.project import ProjectPhase
from nephos_operator.verdict import Problem, Waits

if TYPE_CHECKING:
    from nephos_operator.store import Store

R = TypeVar("R", bound=Resource)


def usable(found: R | None, key: Key, field: str) -> R | Waits:
    """Return what was found, unless it is not there, or is on its way out: that takes no new references."""
    if found is None:
        return Waits(f"No{key.kind}", f"waits for {key}, which {field} names and which does not exist")
    if found.is_deleting:
        return Waits(f"{key.kind}Deleting", f"{key}, which {field} names, is being deleted; name another")
    return found


def active_project(namespace: str | None, store: Store) -> Project | Problem | None:
    """Return the active Project that owns the namespace, None for the catalog's, or what is in the way."""
    if namespace == CATALOG_NAMESPACE:
        return None
    project = store.projects.get(namespace or "")
    if project is None:
        return Waits(
            "NoProject",
            f"waits for the Project {namespace}: namespace {namespace} belongs to none; ask a cloud admin for one",
        )
    if project.is_deleting:
        return Waits("ProjectDeleting", f"Project {namespace} is being deleted")
    if project.status.phase is not ProjectPhase.ACTIVE:
        return Waits("ProjectNotActive", f"waits for the Project {namespace} to become Active")
    return project
