"""Virtual machines on this host: libvirt, and an in-memory twin."""
