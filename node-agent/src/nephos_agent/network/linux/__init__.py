"""The driver: makes facts so in the kernel, on disk and by processes, and reads which ones hold."""
