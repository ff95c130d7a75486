# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, each bound to the algorithms that it may be used with, read from secrets, PEM and JWK."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HMAC = ("HS256", "HS384", "HS512")
RSA = ("RS256", "RS384", "RS512")
# Each curve has one algorithm.
_CURVES: dict[str, tuple[str, str, type[ec.EllipticCurve]]] = {
    "secp256r1": ("ES256", "P-256", ec.SECP256R1),
    "secp384r1": ("ES384", "P-384", ec.SECP384R1),
    "secp521r1": ("ES512", "P-521", ec.SECP521R1),
}
ALGORITHMS = (*HMAC, *RSA, *(algorithm for algorithm, _, _ in _CURVES.values()))

KEY_NAMES = ("JWT_SECRET", "JWT_SECRETS", "JWT_PUBLIC_KEY", "JWT_PUBLIC_KEYS")
MAX_KEYS = 64
MIN_SECRET = 32
MAX_SECRET = 1024
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
# It is written into HAProxy's configuration.
_KID = re.compile(r"[!-~]{1,256}")
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


class TokenKeyError(Exception):
    """An unusable key; the text names it and the reason, and holds no part of it."""


@dataclass(frozen=True)
class Key:
    algorithms: tuple[str, ...]
    material: bytes = field(repr=False)
    """The secret itself, or the public key as PEM."""
    kid: str | None = None

    @property
    def secret(self) -> bool:
        return self.algorithms[0] in HMAC

    @property
    def file(self) -> str:
        """The file name of a public key; equal keys have equal names."""
        return f"key-{hashlib.sha256(self.material).hexdigest()[:20]}.pem"


@dataclass(frozen=True)
class Keys:
    keys: tuple[Key, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys)

    def __add__(self, other: Keys) -> Keys:
        return Keys(tuple(dict.fromkeys(self.keys + other.keys)))

    def only(self, algorithms: Iterable[str]) -> Keys:
        """Return the keys, restricted to these algorithms."""
        wanted = set(algorithms)
        kept = ((key, tuple(name for name in key.algorithms if name in wanted)) for key in self.keys)
        return Keys(tuple(Key(names, key.material, key.kid) for key, names in kept if names))

    @property
    def files(self) -> dict[str, str]:
        """Return the public keys by file name, for HAProxy."""
        return {key.file: key.material.decode() for key in self.keys if not key.secret}

    @property
    def public(self) -> Keys:
        return Keys(tuple(key for key in self.keys if not key.secret))

    def dumps(self) -> str:
        return json.dumps([[key.algorithms, key.material.decode("latin-1"), key.kid] for key in self.keys])

    @classmethod
    def loads(cls, text: str) -> Keys:
        return cls(
            tuple(Key(tuple(names), material.encode("latin-1"), kid) for names, material, kid in json.loads(text))
        )

    @property
    def kids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key.kid for key in self.keys if key.kid is not None))


def known_keys(values: Mapping[str, str]) -> Keys:
    """Read JWT_SECRET, JWT_SECRETS, JWT_PUBLIC_KEY and JWT_PUBLIC_KEYS; raises TokenKeyError."""
    keys: list[Key] = []
    if values.get("JWT_SECRET"):
        keys.append(secret_key("JWT_SECRET", values["JWT_SECRET"].encode()))
    for kid, secret in _listed("JWT_SECRETS", values.get("JWT_SECRETS")):
        keys.append(secret_key("JWT_SECRETS", secret.encode(), kid))
    if values.get("JWT_PUBLIC_KEY"):
        keys += pem_keys("JWT_PUBLIC_KEY", values["JWT_PUBLIC_KEY"])
    for kid, text in _listed("JWT_PUBLIC_KEYS", values.get("JWT_PUBLIC_KEYS")):
        keys += pem_keys("JWT_PUBLIC_KEYS", text, kid)
    return bounded("JWT_SECRETS, JWT_PUBLIC_KEYS", keys)


def secret_values(values: Mapping[str, str]) -> list[str]:
    """Return every secret, to redact it in logs."""
    try:
        listed = [secret for _, secret in _listed("JWT_SECRETS", values.get("JWT_SECRETS"))]
    except TokenKeyError:
        listed = []
    return [value for value in (values.get("JWT_SECRET"), values.get("JWT_SECRETS"), *listed) if value]


def _listed(name: str, text: str | None) -> list[tuple[str | None, str]]:
    """Read a JSON object (key id: value) or a JSON list (values without an id)."""
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(found, dict):
        pairs = found.items()
    elif isinstance(found, list):
        pairs = ((None, value) for value in found)
    listed = [(kid, value) for kid, value in pairs if isinstance(value, str) and value]
    if not listed or len(listed) != len(found or ()):
        raise TokenKeyError(f'{name}: not a JSON object of texts like {{"key-id": "…"}}, nor a JSON list of texts')
    return listed


def bounded(name: str, keys: Iterable[Key]) -> Keys:
    found = Keys() + Keys(tuple(keys))
    if len(found.keys) > MAX_KEYS:
        raise TokenKeyError(
            f"{name}: {len(found.keys)} keys, more than {MAX_KEYS}; remove those that are no longer used"
        )
    return found


def secret_key(name: str, secret: bytes, kid: str | None = None, algorithms: tuple[str, ...] = HMAC) -> Key:
    if b"-----BEGIN " in secret:
        raise TokenKeyError(
            f"{name}: is a PEM key; used as a secret, anyone who knows it could sign tokens; "
            "set a public key in JWT_PUBLIC_KEY"
        )
    if not secret or len(secret) > MAX_SECRET:
        raise TokenKeyError(f"{name}: {len(secret)} bytes; must be 1 to {MAX_SECRET}, better {MIN_SECRET} or more")
    if b"\0" in secret:
        raise TokenKeyError(f"{name}: contains a NUL byte, which HAProxy does not support; generate another secret")
    return Key(algorithms, secret, _checked_kid(name, kid))


def pem_keys(name: str, text: str, kid: str | None = None) -> list[Key]:
    """Read one or more public keys or certificates."""
    # Many stores keep a variable on one line, with \n for line ends.
    found = list(_PEM.finditer(text.replace("\\n", "\n")))
    if not found:
        raise TokenKeyError(f"{name}: not a public key in PEM (-----BEGIN PUBLIC KEY-----)")
    return [_pem_key(name, match[1], match[0].encode(), kid) for match in found]


def _pem_key(name: str, kind: str, pem: bytes, kid: str | None) -> Key:
    if "PRIVATE" in kind:
        raise TokenKeyError(f"{name}: is a private key; set the public key: openssl pkey -pubout")
    try:
        public = x509.load_pem_x509_certificate(pem).public_key() if "CERT" in kind else load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise TokenKeyError(f"{name}: not a valid {kind} in PEM") from None
    return _public_key(name, public, kid)


def _public_key(name: str, public: object, kid: str | None, algorithm: str | None = None) -> Key:
    if isinstance(public, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
            raise TokenKeyError(
                f"{name}: an RSA key of {public.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are supported"
            )
        algorithms: tuple[str, ...] = RSA
    elif isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        algorithms = (_CURVES[public.curve.name][0],)
    else:
        raise TokenKeyError(f"{name}: neither RSA nor one of the curves P-256, P-384, P-521")
    if algorithm is not None:
        if algorithm not in algorithms:
            raise TokenKeyError(f"{name}: its alg is {algorithm[:16]!r}, which is not one of {', '.join(algorithms)}")
        algorithms = (algorithm,)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Key(algorithms, pem, _checked_kid(name, kid))


def _checked_kid(name: str, kid: object) -> str | None:
    if kid is None:
        return None
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise TokenKeyError(f"{name}: a key's id (kid) is 1 to 256 visible ASCII characters")
    return kid


def jwks_keys(name: str, text: bytes, *, secrets: bool) -> tuple[Keys, list[str]]:
    """Read a JWK set; returns the usable keys, and why others are not.

    `secrets` allows symmetric keys, which must never be published. Raises TokenKeyError if no key is usable.
    """
    try:
        listed = json.loads(text)["keys"]
        jwks = [jwk for jwk in listed if isinstance(jwk, dict)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise TokenKeyError(f'{name}: not a JWK set ({{"keys": […]}})') from None
    keys, skipped = [], []
    for number, jwk in enumerate(jwks):
        kid = jwk.get("kid")
        label = f"{name}: key {kid if isinstance(kid, str) and _KID.fullmatch(kid) else number}"
        try:
            keys.append(_jwk_key(label, jwk, secrets=secrets))
        except TokenKeyError as problem:
            skipped.append(str(problem))
    if not keys:
        raise TokenKeyError("; ".join([f"{name}: no usable key", *skipped[:3]]))
    # Their order has no meaning and may vary.
    return bounded(name, sorted(keys, key=lambda key: (key.kid or "", key.algorithms, key.material))), skipped


def _jwk_key(name: str, jwk: dict[str, Any], *, secrets: bool) -> Key:
    kind, kid, algorithm = jwk.get("kty"), jwk.get("kid"), jwk.get("alg")
    operations = jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        raise TokenKeyError(f"{name}: not for signatures")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise TokenKeyError(f"{name}: for an algorithm that is not one of {', '.join(ALGORITHMS)}")
    if kind == "oct":
        if not secrets:
            raise TokenKeyError(f"{name}: a symmetric key, which is not secret at a URL")
        if algorithm is not None and algorithm not in HMAC:
            raise TokenKeyError(f"{name}: a symmetric key for {algorithm}")
        return secret_key(name, _bytes(name, jwk, "k"), kid, (algorithm,) if algorithm else HMAC)
    try:
        if kind == "RSA":
            return _public_key(name, _rsa(name, jwk), kid, algorithm)
        if kind == "EC":
            return _public_key(name, _ec(name, jwk), kid, algorithm)
    except ValueError:
        raise TokenKeyError(f"{name}: its numbers are not those of a {kind} key") from None
    raise TokenKeyError(f"{name}: neither RSA nor EC")


def _rsa(name: str, jwk: dict[str, Any]) -> rsa.RSAPublicKey:
    modulus = _bytes(name, jwk, "n")
    if len(modulus) * 8 > MAX_RSA_BITS + 64:
        raise TokenKeyError(f"{name}: an RSA key of more than {MAX_RSA_BITS} bits")
    exponent = int.from_bytes(_bytes(name, jwk, "e"), "big")
    return rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "big")).public_key()


def _ec(name: str, jwk: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    curve = next((curve for _, label, curve in _CURVES.values() if label == jwk.get("crv")), None)
    if curve is None:
        raise TokenKeyError(f"{name}: its curve is not one of P-256, P-384, P-521")
    x, y = (int.from_bytes(_bytes(name, jwk, part), "big") for part in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()


def _bytes(name: str, jwk: dict[str, Any], part: str) -> bytes:
    value = jwk.get(part)
    try:
        if isinstance(value, str) and value:
            return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        pass
    raise TokenKeyError(f"{name}: its {part} is not base64url")
