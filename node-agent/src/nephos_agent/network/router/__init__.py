"""What a router consists of on a host. Decided here without the kernel."""
