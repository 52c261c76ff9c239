"""The in-memory twin of the Kubernetes API: what reconcilers see of a real one, without a process or a network."""

from nephos_api.kube.memory.api import MemoryKubernetes
from nephos_api.kube.memory.store import Write

__all__ = ["MemoryKubernetes", "Write"]
