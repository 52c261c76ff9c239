"""Disks and cached images on this host: files, and an in-memory twin."""
