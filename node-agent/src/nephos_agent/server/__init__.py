"""How a Server on this host is brought to what it should be."""
