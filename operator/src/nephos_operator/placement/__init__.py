"""Which Host takes a Server: pure filters and weighers over a snapshot of Hosts and claims."""
