# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA of a testbed, the certificate of its services, and SSH keys."""

from __future__ import annotations

import ipaddress
import json
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from testbed.planning.files import Directory


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def certificate_builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
    )


def ensure_certificates(directory: Directory, testbed: str, names: list[str]) -> None:
    """The testbed's CA, and one server certificate for every name that a service answers to."""
    ca_key_text, ca_text = directory.read("ca/ca.key"), directory.read("ca/ca.crt")
    if ca_key_text and ca_text:
        ca_key = serialization.load_pem_private_key(ca_key_text.encode(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        ca = x509.load_pem_x509_certificate(ca_text.encode())
    else:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of testbed {testbed}")])
        ca = (
            certificate_builder(f"CA of testbed {testbed}", subject, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        directory.write("ca/ca.key", pem(ca_key))
        directory.write("ca/ca.crt", ca.public_bytes(serialization.Encoding.PEM).decode(), 0o644)

    names_file = json.dumps(sorted(names))
    if directory.read("tls/server.crt") and directory.read("tls/names.json") == names_file:
        return
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        certificate_builder(f"services of testbed {testbed}", ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    directory.write("tls/server.key", pem(key))
    directory.write("tls/server.crt", certificate.public_bytes(serialization.Encoding.PEM).decode(), 0o644)
    directory.write("tls/names.json", names_file)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def ensure_ssh_key(directory: Directory, name: str, comment: str) -> str:
    """Writes an Ed25519 key pair where there is none; returns the public line."""
    public = directory.read(f"{name}.pub")
    if public is None or directory.read(name) is None:
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        public = f"{line.decode()} {comment}\n"
        directory.write(name, private.decode())
        directory.write(f"{name}.pub", public, 0o644)
    return public.strip()
