"""What rules of the webhook look at, and what several of them say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from nephos_api.metadata import Key, Resource
from nephos_operator import quota
from nephos_operator.addressing import AddressBook
from nephos_operator.quota import Amounts
from nephos_operator.store import Store
from nephos_operator.verdict import Problem


@dataclass(frozen=True)
class Cloud:
    """What rules look at."""

    store: Store
    addresses: AddressBook


_NOTHING: Final[Amounts] = MappingProxyType({})

Rule = Callable[[Any, Cloud], str | None]
"""The object that is asked for, the cloud as it is: a sentence that refuses, or None."""


def sentence(problem: Problem | None) -> str | None:
    """Return what the problem says."""
    return problem.message if problem else None


def terminating(keys: Iterable[tuple[str, Key]], cloud: Cloud) -> str | None:
    """Refuse a new reference to what is being deleted."""
    for field, key in keys:
        found = cloud.store.find(key)
        if found is not None and found.is_deleting:
            return (
                f"{field}: {key} is being deleted and takes no new references; name another, or wait until it is gone"
            )
    return None


def quota_refusal(resource: Resource, asked: Amounts, cloud: Cloud, *, used: Amounts = _NOTHING) -> str | None:
    """Refuse what would be more than the object's project may have, beside what it uses already."""
    project = cloud.store.projects.get(resource.metadata.namespace or "")
    if project is None:
        return None
    return sentence(quota.exceeded(project.metadata.name, project.spec.quota, used, asked))
