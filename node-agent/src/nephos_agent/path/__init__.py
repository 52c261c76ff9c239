"""Explains which way a packet takes and where it ends. Pure: from objects of the API and reports of hosts."""
