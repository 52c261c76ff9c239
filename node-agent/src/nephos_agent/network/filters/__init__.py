"""Who may send what: filters against spoofing, and security groups. Decided here without the kernel."""
