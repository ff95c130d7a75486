"""An endpoint in place of Kubernetes' API server: it records requests, and answers as it is told."""

from __future__ import annotations

import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.servers import Handler, Server

if TYPE_CHECKING:
    from pathlib import Path


class Patch(NamedTuple):
    path: str
    token: str | None
    content_type: str | None
    cost: str | None


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1, which signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / "ca.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.crt", folder / "tls.key"


class _ApiHandler(Handler):
    def do_PATCH(self) -> None:  # noqa: N802
        owner: ApiServer = self.server.owner  # type: ignore[attr-defined]
        body: dict[str, Any] = json.loads(self.body())
        annotations = body["metadata"]["annotations"]
        assert annotations.keys() == {"controller.kubernetes.io/pod-deletion-cost"}
        headers = self.headers
        owner.patches.append(
            Patch(self.path, headers.get("Authorization"), headers.get("Content-Type"), *annotations.values())
        )
        time.sleep(owner.delay)
        if owner.status != 200:
            self.answer(owner.status, json.dumps({"kind": "Status", "message": "pods is forbidden"}))
        else:
            self.answer(200, "{}")


class ApiServer(Server):
    handler = _ApiHandler

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.patches: list[Patch] = []
        self.status = 200
        self.delay = 0.0
        """Seconds before it answers."""
        self.account = folder / "account"
        chain, key = certificate(self.account)
        (self.account / "token").write_text("first-token\n")
        (self.account / "namespace").write_text("gateways")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def environment(self, pod: str) -> dict[str, str]:
        """Return what the kubelet and the Deployment set in this pod."""
        host, port = self._server.server_address[:2]
        return {
            "KUBERNETES_SERVICE_HOST": str(host),
            "KUBERNETES_SERVICE_PORT": str(port),
            "POD_SERVICE_ACCOUNT_DIR": str(self.account),
            "POD_NAME": pod,
        }

    def marks(self) -> dict[str, str | None]:
        """Return the last cost of each pod."""
        return {patch.path.rpartition("/")[2]: patch.cost for patch in self.patches}
