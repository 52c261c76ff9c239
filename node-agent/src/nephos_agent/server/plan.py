"""From what should be and what is to the next steps: one table. docs/developers/agent.md draws it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from nephos_agent.server.power import Found, Power


class Step(StrEnum):
    """One thing that the agent does. Each may be repeated."""

    DISK = "disk"
    """Fetch the image, make the disk and the config drive."""
    TAPS = "taps"
    """Make the taps; the network is prepared meanwhile."""
    DEFINE = "define"
    START_PAUSED = "start"
    PLUG = "plug"
    """Move, filter and bridge the taps; check that it is so."""
    RESUME = "resume"
    POWER_BUTTON = "power-button"
    """Ask the guest to shut down, and cut its power after the deadline."""
    DESTROY = "destroy"
    UNPLUG = "unplug"
    UNDEFINE = "undefine"
    DELETE_DISK = "delete-disk"


Steps = tuple[tuple[Step, ...], ...]
"""One group after the other; the steps of a group side by side."""

_START: Final[Steps] = (
    (Step.DISK, Step.TAPS),
    (Step.DEFINE,),
    (Step.START_PAUSED,),
    (Step.PLUG,),
    (Step.RESUME,),
)
_REWIRE: Final[Steps] = (
    (Step.DISK, Step.TAPS),
    (Step.DEFINE,),
    (Step.PLUG,),
    (Step.RESUME,),
)
"""A new NIC has no link before it is filtered, as no CPU runs at a start."""
_FORGET: Final[Steps] = ((Step.UNDEFINE, Step.UNPLUG), (Step.DELETE_DISK,))
_END: Final[Steps] = ((Step.DESTROY,), *_FORGET)
_STOP: Final[Steps] = ((Step.DESTROY,), (Step.UNPLUG,))

STEPS: Final[Mapping[tuple[Power, Found], Steps]] = {
    (Power.ON, Found.ABSENT): _START,
    (Power.ON, Found.OFF): _START,
    (Power.ON, Found.STARTING): ((Step.START_PAUSED,), (Step.PLUG,), (Step.RESUME,)),
    (Power.ON, Found.PAUSED): ((Step.PLUG,), (Step.RESUME,)),
    (Power.ON, Found.DISK_ERROR): ((Step.RESUME,),),
    (Power.ON, Found.BUSY): (),
    (Power.ON, Found.RUNNING): (),
    (Power.OFF, Found.ABSENT): ((Step.DISK,),),
    (Power.OFF, Found.OFF): (),
    (Power.OFF, Found.STARTING): _STOP,
    (Power.OFF, Found.PAUSED): _STOP,
    (Power.OFF, Found.DISK_ERROR): _STOP,
    (Power.OFF, Found.BUSY): (),
    (Power.OFF, Found.RUNNING): ((Step.POWER_BUTTON,),),
    (Power.GONE, Found.ABSENT): _FORGET,
    (Power.GONE, Found.OFF): _FORGET,
    (Power.GONE, Found.STARTING): _END,
    (Power.GONE, Found.PAUSED): _END,
    (Power.GONE, Found.DISK_ERROR): _END,
    (Power.GONE, Found.BUSY): _END,
    (Power.GONE, Found.RUNNING): _END,
}


def plan(
    power: Power,
    found: Found,
    *,
    plugged: bool,
    unplugged: bool,
    wired: bool = True,
    resumable: bool = True,
    deadline_passed: bool = False,
) -> Steps:
    """Return the steps. ``plugged``: all of its ports are on their networks; ``unplugged``: none is.

    ``wired``: a domain that is on has the NICs that it should have; ``resumable``: one whose disk could not be written
    may try again; ``deadline_passed``: the guest had its time to shut down.
    """
    if (power, found) == (Power.ON, Found.DISK_ERROR) and not resumable:
        return ()
    if power is Power.ON and found in {Found.RUNNING, Found.PAUSED} and not wired:
        return _REWIRE
    if (power, found) == (Power.ON, Found.RUNNING) and not plugged:
        return ((Step.PLUG,),)
    if (power, found) == (Power.OFF, Found.OFF) and not unplugged:
        return ((Step.UNPLUG,),)
    if (power, found) == (Power.OFF, Found.RUNNING) and deadline_passed:
        return _STOP
    return STEPS[power, found]
