"""A host's cables, which tests and people pull: the underlay's, by which it is managed, and the provider's."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2 import NetNS

from nephos_dev.layout import HostLayout, Layout
from nephos_dev.underlay import index_of


@contextmanager
def pulled(layout: Layout, host: HostLayout) -> Iterator[None]:
    """Cut a host off from the control plane, from the other hosts and from the outside for as long as this lasts."""
    _set(layout, host, "down")
    try:
        yield
    finally:
        _set(layout, host, "up")


def _set(layout: Layout, host: HostLayout, state: str) -> None:
    for name in (layout.underlay_netns, layout.internet_netns):
        with NetNS(name) as namespace:
            namespace.link("set", index=index_of(namespace, host.name), state=state)
