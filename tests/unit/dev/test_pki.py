"""Certificates of the cloud are accepted where they should be, and nowhere else."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from nephos_api import pki

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> pki.Credential:
    return pki.create_authority("cloud", now=NOW)


def load(credential: pki.Credential) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credential.certificate_pem)


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_certificate_is_signed_by_its_authority_and_no_other(authority: pki.Credential) -> None:
    issued = load(pki.issue(authority, common_name="nephos-h1", now=NOW))
    issued.verify_directly_issued_by(load(authority))
    stranger = load(pki.create_authority("cloud", now=NOW))
    with pytest.raises((InvalidSignature, ValueError)):
        issued.verify_directly_issued_by(stranger)


def test_a_name_or_an_address_makes_a_server_and_neither_makes_a_client(authority: pki.Credential) -> None:
    client = load(pki.issue(authority, common_name="someone", now=NOW))
    server = load(
        pki.issue(authority, common_name="h1", dns_names=["h1"], addresses=[ip_address("172.20.0.11")], now=NOW)
    )
    assert usages(client) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert usages(server) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["h1"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("172.20.0.11")]


def test_an_issued_certificate_cannot_issue_others(authority: pki.Credential) -> None:
    issued = load(pki.issue(authority, common_name="h1", now=NOW))
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert load(authority).extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_keys_are_rsa_because_qemu_refuses_others(authority: pki.Credential) -> None:
    assert isinstance(load(authority).public_key(), rsa.RSAPublicKey)
    assert isinstance(load(pki.issue(authority, common_name="h1", now=NOW)).public_key(), rsa.RSAPublicKey)


def test_a_certificate_lives_as_long_as_it_was_asked_for(authority: pki.Credential) -> None:
    issued = load(pki.issue(authority, common_name="h1", now=NOW, lifetime=timedelta(days=7)))
    assert issued.not_valid_after_utc == NOW + timedelta(days=7)
    assert issued.not_valid_before_utc < NOW
