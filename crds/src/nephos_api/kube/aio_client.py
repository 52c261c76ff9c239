"""The asynchronous client of the ``kubernetes`` package alone.

Importing anything of the package imports its synchronous client too, with all that this one needs: 8 MB in each agent.
So the two packages on the way to the modules that we use are found, but not run. The operator has that client anyway:
kopf imports it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def _skip_contents(package: str) -> None:
    """Have the package there, with its modules but without what its ``__init__`` imports."""
    spec = find_spec(package)
    if spec is None:
        raise ImportError(f"{package} is not installed")
    sys.modules[package] = module_from_spec(spec)


if "kubernetes" not in sys.modules:
    _skip_contents("kubernetes")
    _skip_contents("kubernetes.aio")

from kubernetes.aio.client.configuration import Configuration  # noqa: E402  # why: what it is in was to be empty first
from kubernetes.aio.client.rest import RESTClientObject  # noqa: E402  # why: as above
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config  # noqa: E402  # why: as above

__all__ = ["ConfigException", "Configuration", "RESTClientObject", "load_incluster_config", "load_kube_config"]
