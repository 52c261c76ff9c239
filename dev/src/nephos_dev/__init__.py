"""The local cloud: a real control plane and hosts in network namespaces on one machine."""
