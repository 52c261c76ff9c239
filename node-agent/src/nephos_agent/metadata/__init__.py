"""What guests read about themselves: the metadata service and the config drive."""
