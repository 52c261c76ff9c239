"""The image service: fetches Images once, checks them, keeps them by their hash, and serves them to hosts."""
