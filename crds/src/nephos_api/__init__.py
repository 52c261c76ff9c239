"""The contract of Nephos: its resources as typed models, and the Kubernetes I/O that both sides share."""
