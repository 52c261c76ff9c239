"""Benchmarks, each beside the raw thing in the same run."""
