"""The Kubernetes I/O that both sides share."""
