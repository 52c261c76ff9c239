"""Keys, certificates and kubeconfigs of one cloud, made once and kept in its state folder."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import yaml

from nephos_api import pki
from nephos_dev import files
from nephos_dev.layout import HostLayout, Layout

_LOOPBACK = IPv4Address("127.0.0.1")


def ensure_control_plane(layout: Layout) -> None:
    """Make what etcd, API server and controller manager need, and the admin's kubeconfig."""
    folder = layout.kubernetes_pki
    authority = _ensure_authority(folder, f"{layout.name}-kubernetes")
    if not (folder / "service-accounts.key").is_file():
        files.write(folder / "service-accounts.key", pki.generate_key(), mode=0o600)
    _ensure_issued(
        folder,
        "apiserver",
        authority,
        common_name="kube-apiserver",
        dns_names=("kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost"),
        addresses=(layout.gateway, _LOOPBACK, IPv4Address("10.96.0.1")),
    )
    admin = _ensure_issued(folder, "admin", authority, common_name="nephos-admin", organizations=("system:masters",))
    _write_certificate_kubeconfig(layout, layout.kubeconfig, admin)
    ensure_component(layout, "kube-controller-manager", user="system:kube-controller-manager")


def ensure_cloud(layout: Layout) -> None:
    """Make the cloud's own certificate authority and the certificates of its central services."""
    authority = _ensure_authority(layout.pki, f"{layout.name}-cloud")
    for name in ("webhook", "image-service"):
        _ensure_issued(
            layout.pki,
            name,
            authority,
            common_name=f"nephos-{name}",
            dns_names=(f"nephos-{name}.nephos-system.svc", "localhost"),
            addresses=(layout.gateway, _LOOPBACK),
        )


def ensure_host(layout: Layout, host: HostLayout) -> pki.Credential:
    """Return the certificate of a host, for migration, image copies and libvirt alike; made if there is none."""
    authority = _ensure_authority(layout.pki, f"{layout.name}-cloud")
    return _ensure_issued(
        layout.pki,
        host.name,
        authority,
        common_name=host.name,
        organizations=("nephos-host",),
        dns_names=(host.name,),
        addresses=(host.address,),
    )


def authority_certificate(folder: Path) -> bytes:
    """Return the PEM certificate of the authority that is kept in `folder`."""
    return (folder / "ca.crt").read_bytes()


def ensure_component(layout: Layout, name: str, *, user: str, groups: Sequence[str] = ()) -> Path:
    """Return the kubeconfig of a component that logs in to the control plane with a certificate."""
    authority = _ensure_authority(layout.kubernetes_pki, f"{layout.name}-kubernetes")
    issued = _ensure_issued(layout.kubernetes_pki, name, authority, common_name=user, organizations=groups)
    path = layout.kubeconfigs / name
    _write_certificate_kubeconfig(layout, path, issued)
    return path


def write_token_kubeconfig(layout: Layout, path: Path, *, user: str, token: str) -> None:
    """Write a kubeconfig that presents a ServiceAccount's token."""
    files.write(path, _kubeconfig(layout, user, {"token": token}), mode=0o600)


def _write_certificate_kubeconfig(layout: Layout, path: Path, credential: pki.Credential) -> None:
    user = {
        "client-certificate-data": _base64(credential.certificate_pem),
        "client-key-data": _base64(credential.key_pem),
    }
    files.write(path, _kubeconfig(layout, path.name, user), mode=0o600)


def _kubeconfig(layout: Layout, user: str, secret: dict[str, str]) -> str:
    cluster = {
        "server": layout.apiserver_url,
        "certificate-authority-data": _base64(authority_certificate(layout.kubernetes_pki)),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": user, "user": secret}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": user}}],
        "current-context": layout.name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _ensure_authority(folder: Path, common_name: str) -> pki.Credential:
    known = _read(folder, "ca")
    if known:
        return known
    return _write(folder, "ca", pki.create_authority(common_name, now=datetime.now(UTC)))


def _ensure_issued(
    folder: Path,
    name: str,
    authority: pki.Credential,
    *,
    common_name: str,
    organizations: Sequence[str] = (),
    dns_names: Sequence[str] = (),
    addresses: Sequence[pki.Address] = (),
) -> pki.Credential:
    known = _read(folder, name)
    if known:
        return known
    issued = pki.issue(
        authority,
        common_name=common_name,
        organizations=organizations,
        dns_names=dns_names,
        addresses=addresses,
        now=datetime.now(UTC),
    )
    return _write(folder, name, issued)


def _read(folder: Path, name: str) -> pki.Credential | None:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not (certificate.is_file() and key.is_file()):
        return None
    return pki.Credential(certificate_pem=certificate.read_bytes(), key_pem=key.read_bytes())


def _write(folder: Path, name: str, credential: pki.Credential) -> pki.Credential:
    files.write(folder / f"{name}.key", credential.key_pem, mode=0o600)
    files.write(folder / f"{name}.crt", credential.certificate_pem)
    return credential


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
