"""libvirt's errors as faults, by one table. Source: virErrorNumber in libvirt/virterror.h."""

from __future__ import annotations

from typing import Final

import libvirt

from nephos_api.errors import NephosError, PermanentFault, TemporaryFault

UNAVAILABLE: Final = "HypervisorUnavailable"
_NEVER_WORKS: Final = frozenset(
    {
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_XML_DETAIL,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA,
        libvirt.VIR_ERR_INVALID_ARG,
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_OS_TYPE,
    }
)
_CONNECTION_LOST: Final = frozenset(
    {
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_RPC,
    }
)


def is_connection_lost(error: libvirt.libvirtError) -> bool:
    """Tell whether libvirtd is away, rather than unwilling."""
    if error.get_error_code() in _CONNECTION_LOST:
        return True
    return error.get_error_domain() in {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}


def to_fault(error: libvirt.libvirtError) -> NephosError:
    """Return the fault that the error stands for; what the table does not know may go away by itself."""
    message = error.get_error_message() or str(error)
    if is_connection_lost(error):
        return TemporaryFault(f"libvirtd does not answer: {message}", reason=UNAVAILABLE)
    if error.get_error_code() in _NEVER_WORKS:
        return PermanentFault(f"the hypervisor refuses the domain: {message}", reason="DomainUnsupported")
    return TemporaryFault(f"the hypervisor failed: {message}", reason="HypervisorFailed")
