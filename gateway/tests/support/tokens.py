"""An issuer of valid and invalid tokens."""

from __future__ import annotations

import base64
import hmac
import json
import time
from functools import cache
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

ISSUER = "https://issuer.example/realm"
AUDIENCE = "https://api.example"
# Everything that a line of configuration could stumble over.
SECRET = 'it\'s "quoted", \\back\\slashed\\n \t (or) #not $HOME %[x] {} ü\x01 end'
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
Key = RSAKey | ECKey | OctKey


@cache
def rsa(name: str = "rsa") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name})


@cache
def ec(algorithm: str = "ES256", name: str = "ec") -> ECKey:
    return ECKey.generate_key(CURVES[algorithm], {"kid": f"{name}-{algorithm}"})


@cache
def secret(text: str = SECRET) -> OctKey:
    return OctKey.import_key(text.encode())


def public(key: Key) -> str:
    return key.as_pem(private=False).decode() if not isinstance(key, OctKey) else ""


def jwk(key: Key, **more: Any) -> dict[str, Any]:
    return key.as_dict(private=isinstance(key, OctKey)) | more


def claims(**more: Any) -> dict[str, Any]:
    """Return what a good token says; a claim of None is left out."""
    usual = {"sub": "user-7", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}
    return {name: value for name, value in (usual | more).items() if value is not None}


def sign(key: Key, algorithm: str, payload: dict[str, Any] | bytes | None = None, **header: Any) -> str:
    body = payload if isinstance(payload, bytes) else json.dumps(claims() if payload is None else payload).encode()
    kid = {} if isinstance(key, OctKey) or "kid" in header else {"kid": key.kid}
    head = {"alg": algorithm, "typ": "JWT"} | kid | header
    kept = {name: value for name, value in head.items() if value is not None}
    return str(jws.serialize_compact(kept, body, key, algorithms=[algorithm]))


def confuse(guess: str, kid: str | None) -> str:
    """Sign with something that is no secret: what a library refuses to do."""
    header = {"alg": "HS256"} | ({"kid": kid} if kid else {})
    text = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims()).encode())}"
    return f"{text}.{encode(hmac.digest(guess.encode(), text.encode(), 'sha256'))}"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
