"""What holds for all tests."""

from hypothesis import settings

# How long an example takes says how busy the machine is; pytest's own timeout finds what hangs.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
