"""What is: makes one host run what the operator placed on it."""
