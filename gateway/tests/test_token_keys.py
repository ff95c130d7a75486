"""Keys for tokens: valid and refused ones, and JWK sets from misbehaving servers."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from evenkeel_gateway.haproxy.quoting import argument, word
from evenkeel_gateway.haproxy.runtime_api import RuntimeApi
from evenkeel_gateway.settings import ConfigurationError, load
from evenkeel_gateway.tokens import TokenKeyError
from evenkeel_gateway.tokens.jwks import Jwks
from evenkeel_gateway.tokens.keys import HMAC, MAX_KEYS, RSA, jwks_keys, known_keys, secret_values
from support import tokens
from support.servers import JwksServer
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Environment = Callable[..., None]

SECRET = "planted-secret, of more than 32 bytes"
ROUTES = '[{"prefix": "/a", "upstream": "http://a", "auth": "required"}]'


def pem(public: Any) -> str:
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def test_each_key_is_bound_to_its_algorithms() -> None:
    found = known_keys(
        {
            "JWT_SECRET": SECRET,
            "JWT_SECRETS": json.dumps({"a": "x" * 32}),
            "JWT_PUBLIC_KEY": tokens.public(tokens.rsa()).replace("\n", "\\n") + tokens.public(tokens.ec("ES384")),
            "JWT_PUBLIC_KEYS": json.dumps({"b": tokens.public(tokens.ec("ES256"))}),
        }
    )
    assert [(key.algorithms, key.kid) for key in found.keys] == [
        (HMAC, None),
        (HMAC, "a"),
        (RSA, None),
        (("ES384",), None),
        (("ES256",), "b"),
    ]
    assert found.only(["RS256", "HS512"]).keys[0].algorithms == ("HS512",)
    assert len(found.only(["ES256"]).keys) == 1
    assert not found.only([])
    assert all(SECRET not in text for text in (repr(found), *found.files, *found.files.values()))
    assert len(found.files) == 3


def test_a_certificate_is_as_good_as_its_key(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    [found] = known_keys({"JWT_PUBLIC_KEY": certificate.read_text()}).keys
    assert found.algorithms == RSA
    assert found.material.startswith(b"-----BEGIN PUBLIC KEY-----")


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "a public key as a secret": ({"JWT_SECRET": tokens.public(tokens.rsa())}, "is a PEM key"),
    "in a list too": ({"JWT_SECRETS": json.dumps([tokens.public(tokens.rsa())])}, "is a PEM key"),
    "a zero": ({"JWT_SECRETS": json.dumps([f"{SECRET}\0"])}, "NUL byte"),
    "too long": ({"JWT_SECRET": "x" * 1025}, "1025 bytes"),
    "no JSON": ({"JWT_SECRETS": SECRET}, "not a JSON object"),
    "an empty list": ({"JWT_SECRETS": "[]"}, "not a JSON object"),
    "something else in it": ({"JWT_SECRETS": json.dumps({"a": SECRET, "b": {"k": SECRET}})}, "not a JSON object"),
    "a name with a space": ({"JWT_SECRETS": json.dumps({"a b": SECRET})}, "key's id"),
    "a name with a line": ({"JWT_SECRETS": json.dumps({"a\n": SECRET})}, "key's id"),
    "too many": ({"JWT_SECRETS": json.dumps([f"{SECRET}{i}" for i in range(MAX_KEYS + 1)])}, "65 keys"),
    "no PEM": ({"JWT_PUBLIC_KEY": SECRET}, "not a public key in PEM"),
    "half a PEM": ({"JWT_PUBLIC_KEY": tokens.public(tokens.rsa())[:200]}, "not a public key in PEM"),
    "nonsense in PEM": (
        {"JWT_PUBLIC_KEY": f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----"},
        "not a valid PUBLIC KEY",
    ),
    "a private key": ({"JWT_PUBLIC_KEY": private(rsa.generate_private_key(65537, 2048))}, "openssl pkey -pubout"),
    "short": ({"JWT_PUBLIC_KEY": pem(rsa.generate_private_key(65537, 1024).public_key())}, "1024 bits"),
    "another curve": ({"JWT_PUBLIC_KEY": pem(ec.generate_private_key(ec.SECP256K1()).public_key())}, "P-256"),
    "another kind": ({"JWT_PUBLIC_KEY": pem(ed25519.Ed25519PrivateKey.generate().public_key())}, "P-256"),
    "a third kind": ({"JWT_PUBLIC_KEY": pem(dsa.generate_private_key(1024).public_key())}, "P-256"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_a_key_is_refused_at_the_start(environment: Environment, case: str) -> None:
    values, text = REFUSED[case]
    environment(ROUTES=ROUTES, **{name: value for name, value in values.items() if "\0" not in value})
    with pytest.raises(TokenKeyError) as error:
        known_keys(values)
    said = str(error.value)
    with pytest.raises(ConfigurationError) as refused:
        load()
    assert said in refused.value.problems
    assert text in said
    assert next(iter(values)) in said
    assert "planted" not in said
    assert "BEGIN PUBLIC KEY-----\n" not in said


def test_an_unused_secret_may_be_anything(environment: Environment) -> None:
    environment(JWT_SECRET="x\ny", JWT_PUBLIC_KEY="none")
    load()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"AUTH_DEFAULT": "maybe"}, "AUTH_DEFAULT"),
        ({"AUTH_ALGORITHMS": "HS256 none"}, "AUTH_ALGORITHMS: none is not one of"),
        ({"AUTH_ALGORITHMS": "PS256"}, "AUTH_ALGORITHMS"),
        ({"AUTH_ISSUERS": 'https://a"b'}, "AUTH_ISSUERS"),
        ({"AUTH_AUDIENCES": "a\\b"}, "AUTH_AUDIENCES"),
        ({"AUTH_LEEWAY_SECONDS": "-1"}, "AUTH_LEEWAY_SECONDS"),
        ({"AUTH_REQUIRED_CLAIMS": "a[0]"}, "AUTH_REQUIRED_CLAIMS"),
        ({"AUTH_USER_CLAIM": "sub')"}, "AUTH_USER_CLAIM"),
        ({"AUTH_CLAIM_HEADERS": "sub"}, "AUTH_CLAIM_HEADERS"),
        ({"AUTH_CLAIM_HEADERS": "sub=X_User"}, "AUTH_CLAIM_HEADERS"),
        ({"AUTH_CLAIM_HEADERS": "sub=Authorization"}, "AUTH_CLAIM_HEADERS"),
        ({"AUTH_CLAIM_HEADERS": "sub=X-Forwarded-For"}, "AUTH_CLAIM_HEADERS"),
        ({"AUTH_CLAIM_HEADERS": "sub=X-A, name=x-a"}, "more than once"),
        ({"JWKS_URL": "file:///etc/passwd"}, "JWKS_URL"),
        ({"ROUTES": '[{"prefix": "/a", "upstream": "http://a", "auth": "yes"}]'}, "ROUTES"),
        ({"ROUTES": '[{"prefix": "/a", "upstream": "http://a", "scopes": ["a"]}]'}, "auth: required"),
        ({"ROUTES": '[{"prefix": "/a", "upstream": "http://a", "auth": "required", "scopes": ["a b"]}]'}, "ROUTES"),
    ],
)
def test_settings_that_are_refused(environment: Environment, values: dict[str, str], word: str) -> None:
    environment(**values)
    with pytest.raises(ConfigurationError) as error:
        load()
    assert word in "\n".join(error.value.problems)


def test_what_none_is_for(environment: Environment) -> None:
    environment(AUTH_CLAIM_HEADERS="none", AUTH_REQUIRED_CLAIMS="none")
    settings = load()
    assert (settings.auth_claim_headers, settings.auth_required_claims) == ({}, ())


def jwk_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


RSA_JWK, EC_JWK = tokens.jwk(tokens.rsa()), tokens.jwk(tokens.ec("ES256"))
UNUSABLE: dict[str, object] = {
    "for encryption": RSA_JWK | {"use": "enc"},
    "for signing": RSA_JWK | {"key_ops": ["sign"]},
    "another algorithm": RSA_JWK | {"alg": "PS256"},
    "none": RSA_JWK | {"alg": "none"},
    "of another kind": RSA_JWK | {"alg": "ES256"},
    "a secret's": RSA_JWK | {"alg": "HS256"},
    "a list": RSA_JWK | {"alg": ["RS256"]},
    "a name that is none": RSA_JWK | {"kid": "a b"},
    "a number as a name": RSA_JWK | {"kid": 7},
    "no numbers": RSA_JWK | {"n": None},
    "bad numbers": RSA_JWK | {"n": "!!"},
    "an even exponent": RSA_JWK | {"e": "Ag"},
    "huge": RSA_JWK | {"n": "_" * 20000},
    "not on the curve": EC_JWK | {"x": EC_JWK["y"]},
    "of another curve": EC_JWK | {"crv": "P-384"},
    "an unknown curve": EC_JWK | {"crv": "secp256k1"},
    "of another curve's algorithm": EC_JWK | {"alg": "ES384"},
    "symmetric": {"kty": "oct", "k": tokens.encode(SECRET.encode())},
    "Edwards": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "a kind that is a list": {"kty": []},
    "no key": {},
    "no object": "RSA",
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_jwk_that_can_not_be_used_is_left_out(case: str) -> None:
    found, skipped = jwks_keys("JWKS_URL", jwk_set(UNUSABLE[case], EC_JWK), secrets=False)
    assert [(key.algorithms, key.kid) for key in found.keys] == [(("ES256",), "ec-ES256")]
    assert len(skipped) == (1 if isinstance(UNUSABLE[case], dict) else 0)
    assert all("planted" not in text for text in skipped)
    with pytest.raises(TokenKeyError, match="no usable key"):
        jwks_keys("JWKS_URL", jwk_set(UNUSABLE[case]), secrets=False)


def test_a_jwk_is_bound_to_what_it_says() -> None:
    found, _ = jwks_keys(
        "JWKS_FILE",
        jwk_set(RSA_JWK | {"alg": "RS384", "use": "sig"}, RSA_JWK, {"kty": "oct", "k": tokens.encode(b"\xff" * 40)}),
        secrets=True,
    )
    assert [key.algorithms for key in found.keys] == [HMAC, RSA, ("RS384",)]


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an error": ({"status": 500}, "answers 500"),
    "a redirect": ({"status": 302, "location": "http://127.0.0.1:9/"}, "set the URL that it redirects to"),
    "garbage": ({"body": b"\xff\0<html>"}, "not a JWK set"),
    "a deep one": ({"body": b"[" * 100_000}, "not a JWK set"),
    "other JSON": ({"body": '{"keys": 7}'}, "not a JWK set"),
    "no keys": ({"body": '{"keys": []}'}, "no usable key"),
    "too much": ({"body": " " * 300_000}, "more than 256 KiB"),
    "slow": ({"delay": 2.0}, "no answer in time"),
    "a drip": ({"drip": True}, "too slow"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_server_that_misbehaves(case: str) -> None:
    faults, text = FAULTS[case]
    with JwksServer(RSA_JWK) as server:
        jwks = Jwks(server.url.replace("//", "//user:planted@"), None, 0.5)
        assert jwks.read()[0].kids == ("rsa",)
        for name, value in faults.items():
            setattr(server, name, value)
        started = time.monotonic()
        with pytest.raises(TokenKeyError, match=text) as error:
            jwks.read()
        assert time.monotonic() - started < 1.5
    assert "planted" not in str(error.value) + repr(jwks)
    with pytest.raises(TokenKeyError, match="Connection refused"):
        jwks.read()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TokenKeyError, match=r"JWKS_FILE=.*No such file"):
        Jwks(None, tmp_path / "none", 1).read()


def test_single_secrets_are_kept_out_of_logs() -> None:
    values = {"JWT_SECRET": "a", "JWT_SECRETS": '{"x": "b", "y": "c"}'}
    assert secret_values(values) == ["a", '{"x": "b", "y": "c"}', "b", "c"]
    assert secret_values({"JWT_SECRETS": "broken"}) == ["broken"]


def test_whatever_is_quoted_is_what_haproxy_reads(tmp_path: Path) -> None:
    dice = random.Random(7)
    texts = [
        b"plain",
        b"two words",
        b"it's",
        b'"',
        b"\\",
        b"\\x41\\n",
        b"$HOME ${HOME}",
        b"#",
        b"\t\r\n",
        b"%[x]",
        b",)",
        b"{}",
    ]
    texts += [bytes(dice.randrange(1, 256) for _ in range(dice.randrange(1, 300))) for _ in range(200)]
    words = [word(f"str({argument(text.decode('latin-1'))}),hex".encode("latin-1")) for text in texts]
    lines = [f"  set-var proc.x{number} {text}\n" for number, text in enumerate(words)]
    socket, config = tmp_path / "socket", tmp_path / "haproxy.cfg"
    listener = f"listen x\n  bind unix@{tmp_path}/x\n"
    config.write_text(f"global\n  stats socket {socket} level admin\n{''.join(lines)}{listener}")
    process = subprocess.Popen(
        [os.environ.get("HAPROXY_BINARY", "haproxy"), "-db", "-f", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        api = RuntimeApi(socket)
        until(socket.exists, 10, "HAProxy answers")
        for number, text in enumerate(texts):
            assert f"<{text.hex().upper()}>" in asyncio.run(api.ask(f"get var proc.x{number}"))
    finally:
        process.terminate()
        process.wait(10)
