"""Queues that keep a device to its rate, and what diverts a tap's frames to one (tc-tbf(8), tc-mirred(8)).

The token bucket holds a hundredth of a second of the rate, so that a burst of the guest's is not torn apart, and a
tenth of a second waits behind it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nephos_agent.network.rate_facts import Diversion, Shaper

_BYTES_OF_KBIT: Final = 125
_LEAST_BURST_BYTES: Final = 20_000
"""More than the largest frame of any network."""
_LEAST_QUEUE_BYTES: Final = 20_000
_BURSTS_PER_SECOND: Final = 100
_QUEUES_PER_SECOND: Final = 10
_ROOT_HANDLE: Final = 0x10000
_INGRESS: Final = 0xFFFF0000
_ALL_PROTOCOLS: Final = 0x0003  # ETH_P_ALL
_TC_H_ROOT: Final = 0xFFFFFFFF
_GONE: Final = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV})


class Shaping:
    """A netlink socket in the calling thread's namespace. Calls block."""

    def __init__(self) -> None:
        self._route = IPRoute(groups=0)

    def close(self) -> None:
        """Close the socket; queues stay."""
        self._route.close()

    def shape(self, index: int, kilobits_per_second: int) -> None:
        """Keep the device to the rate, from now on."""
        rate = kilobits_per_second * _BYTES_OF_KBIT
        burst = max(_LEAST_BURST_BYTES, rate // _BURSTS_PER_SECOND)
        limit = burst + max(_LEAST_QUEUE_BYTES, rate // _QUEUES_PER_SECOND)
        self._route.tc("replace", "tbf", index, handle=_ROOT_HANDLE, rate=rate, burst=burst, limit=limit)

    def release(self, index: int) -> None:
        """Let the device send as fast as it can."""
        self._delete(index, _TC_H_ROOT, _ROOT_HANDLE)

    def divert(self, index: int, funnel: int) -> None:
        """Have all that the device receives go through the funnel."""
        self.let_pass(index)
        self._route.tc("add", "ingress", index)
        redirect = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": funnel}
        self._route.tc(
            "add-filter",
            "u32",
            index,
            parent=_INGRESS,
            prio=1,
            protocol=_ALL_PROTOCOLS,
            target=_ROOT_HANDLE,
            keys=["0x0/0x0+0"],
            action=[redirect],
        )

    def let_pass(self, index: int) -> None:
        """Have what the device receives go its way at once."""
        self._delete(index, 0xFFFFFFF1, _INGRESS)

    def observe(self, devices: Mapping[int, str]) -> Iterable[Shaper | Diversion]:
        """Return what holds of the devices, named by index; one dump, and one more for each diverted device."""
        for queue in self._route.get_qdiscs():
            device = devices.get(queue["index"])
            if device is None:
                continue
            if queue.get_attr("TCA_KIND") == "tbf":
                rate = queue.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")["rate"]
                yield Shaper(device, rate // _BYTES_OF_KBIT)
            elif queue.get_attr("TCA_KIND") == "ingress":
                yield Diversion(device, devices.get(self._target(queue["index"]), ""))

    def dropped(self) -> dict[int, int]:
        """Return how many packets each queue with a rate could not hold, by the device's index."""
        return {
            queue["index"]: queue.get_attr("TCA_STATS")["drop"]
            for queue in self._route.get_qdiscs()
            if queue.get_attr("TCA_KIND") == "tbf"
        }

    def _target(self, index: int) -> int:
        found = (_redirected_to(each) for each in self._route.get_filters(index=index, parent=_INGRESS))
        return next((target for target in found if target), 0)

    def _delete(self, index: int, parent: int, handle: int) -> None:
        try:
            self._route.tc("del", index=index, parent=parent, handle=handle)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise


def _redirected_to(found: Any) -> int:
    """Return the index of the device that the filter redirects to; 0 where it redirects nothing."""
    options = found.get_attr("TCA_OPTIONS")
    actions = options.get_attr("TCA_U32_ACT") if options else None
    if not actions:
        return 0
    action = actions.get_attr("TCA_ACT_PRIO_1")
    parameters = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    return int(parameters["ifindex"]) if parameters else 0
