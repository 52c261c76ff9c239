"""A real Kubernetes node on a host of the local cloud: containerd, kubelet and a scheduler, for tests on real pods."""

from nephos_dev.node.container_images import ContainerImage, agent_image, pause_image
from nephos_dev.node.node import Node

__all__ = ["ContainerImage", "Node", "agent_image", "pause_image"]
