"""What should be: turns the users' objects into placement, addresses and claims."""
