"""Certificates for servers and clients of one test run, signed by an authority of its own."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.processes import LOCAL_ADDRESS

_VALID_DAYS: Final = 2
KEY_PASSWORD: Final = "a-key-password"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the authority, a server's certificate and key, a client's with an encrypted key."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def make_tls_files(directory: Path) -> TlsFiles:
    """Write an authority and what it signs into a directory.

    Args:
        directory: exists; the files in it are unprotected, as they are worth nothing.
    """
    files = TlsFiles(
        *(directory / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key"))
    )
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("test authority", authority_key, None, authority_key)
    _write_certificate(files.ca, authority)
    for name, certificate, key_file, password in (
        (LOCAL_ADDRESS, files.server_certificate, files.server_key, None),
        ("a client", files.client_certificate, files.client_key, KEY_PASSWORD),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        _write_certificate(certificate, _certificate(name, key, authority, authority_key))
        key_file.write_bytes(_pem_key(key, password))
    return files


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if name == LOCAL_ADDRESS:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOCAL_ADDRESS))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _pem_key(key: ec.EllipticCurvePrivateKey, password: str | None) -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        protection = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
