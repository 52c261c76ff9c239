"""What libvirtd and QEMU of a host are told, and the certificates that they present."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from nephos_api.pki import Credential
from nephos_dev import files
from nephos_dev.layout import HostLayout

# One mount namespace holds libvirtd, agent and guests; root owns it all, and no cgroup or label is needed to
# keep throw-away guests apart.
_QEMU_CONF: Mapping[str, object] = {
    "security_driver": "none",
    "user": "root",
    "group": "root",
    "namespaces": [],
    "cgroup_controllers": [],
    "stdio_handler": "file",
    "remember_owner": 0,
    "default_tls_x509_cert_dir": "/etc/pki/qemu",
    "default_tls_x509_verify": 1,
    "migrate_tls_force": 1,
}


def host_uuid(cloud_id: str, host_name: str) -> uuid.UUID:
    """Return the identity of a host's libvirtd; two on one machine must not share the machine's own."""
    return uuid.uuid5(uuid.UUID(cloud_id), host_name)


def libvirtd_conf(cloud_id: str, host: HostLayout) -> str:
    """Return libvirtd.conf: the local socket for root, mutual TLS on the underlay for the other hosts."""
    return _render(
        {
            "auth_unix_ro": "none",
            "auth_unix_rw": "none",
            "unix_sock_rw_perms": "0700",
            "listen_tls": 1,
            "listen_tcp": 0,
            "listen_addr": str(host.address),
            "auth_tls": "none",
            "tls_allowed_dn_list": ["O=nephos-host,CN=*", "CN=*,O=nephos-host"],
            "host_uuid": str(host_uuid(cloud_id, host.name)),
            "log_outputs": "3:stderr",
        }
    )


def qemu_conf() -> str:
    """Return qemu.conf."""
    return _render(_QEMU_CONF)


def write_configuration(host: HostLayout, cloud_id: str) -> None:
    """Write the host's /etc/libvirt."""
    folder = host.root / "etc" / "libvirt"
    files.write(folder / "libvirtd.conf", libvirtd_conf(cloud_id, host))
    files.write(folder / "qemu.conf", qemu_conf())


def write_certificates(host: HostLayout, authority: bytes, credential: Credential) -> None:
    """Write the host's /etc/pki: one certificate, under the names that libvirt and QEMU look for."""
    folder = host.root / "etc" / "pki"
    certificates = {
        "CA/cacert.pem": authority,
        "libvirt/servercert.pem": credential.certificate_pem,
        "libvirt/clientcert.pem": credential.certificate_pem,
        "qemu/ca-cert.pem": authority,
        "qemu/server-cert.pem": credential.certificate_pem,
        "qemu/client-cert.pem": credential.certificate_pem,
    }
    keys = (
        "libvirt/private/serverkey.pem",
        "libvirt/private/clientkey.pem",
        "qemu/server-key.pem",
        "qemu/client-key.pem",
    )
    for name, content in certificates.items():
        files.write(folder / name, content)
    for name in keys:
        files.write(folder / Path(name), credential.key_pem, mode=0o600)


def _render(settings: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[ {', '.join(_value(item) for item in value)} ]"
    return str(value) if isinstance(value, int) else f'"{value}"'
