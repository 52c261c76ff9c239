"""The cloud's own certificate authority: what it is, and the certificates that it issues.

RSA throughout: QEMU 7.2 refuses some ECDSA certificates, and one kind of key everywhere keeps the trust simple.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=365)
_KEY_BITS = 2048
_CLOCK_SKEW = timedelta(hours=1)  # hosts whose clocks are behind accept a new certificate at once

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A certificate and its private key, both PEM; the key as unencrypted PKCS#8."""

    certificate_pem: bytes
    key_pem: bytes


def generate_key() -> bytes:
    """Return a new RSA private key as unencrypted PKCS#8 PEM."""
    return _to_pem(rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS))


def create_authority(common_name: str, *, now: datetime) -> Credential:
    """Return a new self-signed certificate authority that signs end certificates only, valid for ten years."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    subject = _name(common_name, ())
    builder = _unsigned(subject=subject, issuer=subject, key=key, now=now, lifetime=AUTHORITY_LIFETIME)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Credential(certificate_pem=certificate.public_bytes(serialization.Encoding.PEM), key_pem=_to_pem(key))


def issue(
    authority: Credential,
    *,
    common_name: str,
    organizations: Sequence[str] = (),
    dns_names: Sequence[str] = (),
    addresses: Sequence[Address] = (),
    now: datetime,
    lifetime: timedelta = CERTIFICATE_LIFETIME,
) -> Credential:
    """Return a certificate of `authority` for a client, and for a server too if it has a name or an address."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
    issuer_key = _load_key(authority.key_pem)
    builder = _unsigned(
        subject=_name(common_name, organizations), issuer=issuer.subject, key=key, now=now, lifetime=lifetime
    )
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    alternatives = [*map(x509.DNSName, dns_names), *map(x509.IPAddress, addresses)]
    if alternatives:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return Credential(certificate_pem=certificate.public_bytes(serialization.Encoding.PEM), key_pem=_to_pem(key))


def _unsigned(
    *, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(pem: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the certificate authority's key is not RSA")
    return key


def _to_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
