"""Tenant networks on this host: the kernel, dnsmasq, and an in-memory twin."""
