"""Tokens, verified by a real HAProxy: accepted and refused ones, and what the backend receives."""

from __future__ import annotations

import hmac
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evenkeel_gateway.tokens import ALGORITHMS
from evenkeel_gateway.tokens.keys import HMAC, RSA
from support import tokens
from support.gateway import GatewayProcess
from support.load import Load
from support.servers import Backend, JwksServer
from support.supervised import control_of
from support.tokens import AUDIENCE, CURVES, ISSUER, claims, decode, ec, encode, rsa, secret, sign
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import SecretsManager

    Start = Callable[..., GatewayProcess]

LEEWAY = 3
NAMED = "a secret that has a name, of more than 32 bytes"
OLD, NEW = (
    secret("the old secret, which has more than 32 bytes"),
    secret("the new secret, which has more than 32 bytes"),
)


def routes(url: str, **more: dict[str, Any]) -> str:
    found = {auth: {"auth": auth} for auth in ("required", "optional", "none")} | more
    return json.dumps([{"prefix": f"/{name}", "upstream": url} | fields for name, fields in found.items()])


def material(key: tokens.Key) -> str:
    return decode(str(key.as_dict()["k"])).decode()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for everything that changes nothing."""
    keys: list[tokens.Key] = [rsa(), *(ec(name) for name in CURVES)]
    public = {key.kid: tokens.public(key) for key in keys}
    with Backend() as backend:
        environment = {
            "ROUTES": routes(
                backend.url,
                read={"auth": "required", "scopes": ["users:read"]},
                admin={"auth": "required", "scopes": ["users:read", "b,c)"]},
            ),
            "AUTH_ISSUERS": f"{ISSUER} https://other.example",
            "AUTH_AUDIENCES": f"another {AUDIENCE}",
            "AUTH_LEEWAY_SECONDS": str(LEEWAY),
            "AUTH_CLAIM_HEADERS": "sub=X-User-Id, roles=X-User-Roles, realm_access.roles=X-Realm-Roles, "
            "https://claims.example/v1.team=X-Team",
            "JWT_SECRET": tokens.SECRET,
            "JWT_SECRETS": json.dumps({"named": NAMED}),
            "JWT_PUBLIC_KEYS": json.dumps(public),
            "LOG_LEVEL": "debug",
        }
        running = GatewayProcess(tmp_path_factory.mktemp("tokens") / "gateway.log", environment)
        try:
            yield running.ready()
        finally:
            running.destroy()


def folder(process: GatewayProcess) -> Path:
    """Where the files of the HAProxy are that serves."""
    arguments = Path(f"/proc/{process.children[-1]}/cmdline").read_text().split("\0")
    return Path(arguments[arguments.index("-f") + 1]).parent


def ask(process: GatewayProcess, path: str, token: str | None = None, *headers: tuple[str, str]) -> Any:
    """Return the answer; names and order of the headers are as they are given."""
    with closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)) as connection:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in (*headers, *([("Authorization", f"Bearer {token}")] if token is not None else [])):
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.body = json.loads(answer.read())  # type: ignore[attr-defined]
        return answer


def seen(process: GatewayProcess, token: str, path: str = "/required") -> dict[str, str]:
    """Return the headers that reached the backend."""
    answer = ask(process, path, token)
    assert answer.status == 200, answer.body
    headers: dict[str, str] = answer.body["headers"]
    return headers


def reason(process: GatewayProcess, token: str, path: str = "/required") -> str:
    answer = ask(process, path, token)
    assert answer.status == 401, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.body) == {"error", "reason", "requestId"}
    why: str = answer.body["reason"]
    assert answer.headers["WWW-Authenticate"] == f'Bearer error="invalid_token", error_description="{why}"'
    return why


def haproxy_version() -> str:
    command = [os.environ.get("HAPROXY_BINARY", "haproxy"), "-v"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def key_for(algorithm: str) -> tokens.Key:
    return secret() if algorithm in HMAC else rsa() if algorithm in RSA else ec(algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token(process: GatewayProcess, algorithm: str) -> None:
    token = sign(key_for(algorithm), algorithm)
    headers = seen(process, token)
    assert headers["x-user-id"] == "user-7"
    assert headers["authorization"] == f"Bearer {token}"
    assert seen(process, token, "/optional")["x-user-id"] == "user-7"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_that_is_not_quite_right(process: GatewayProcess, algorithm: str) -> None:
    head, body, signature = sign(key_for(algorithm), algorithm).split(".")
    raw = bytearray(decode(signature))
    raw[len(raw) // 2] ^= 1
    wrong = [encode(bytes(raw)), encode(bytes(len(raw))), encode(b"\xff" * len(raw)), signature[:-4], signature * 2]
    found = {reason(process, f"{head}.{body}.{text}") for text in wrong}
    assert found <= {"bad_signature", "malformed"}
    assert reason(process, f"{head}.{encode(json.dumps(claims(sub='admin')).encode())}.{signature}") == "bad_signature"


def test_a_key_is_chosen_by_its_id(process: GatewayProcess) -> None:
    named = secret(NAMED)
    assert seen(process, sign(named, "HS256", kid="named"))
    # A name that is not listed: then it is one of the keys without a name, or none.
    assert seen(process, sign(secret(), "HS256", kid="whatever"))
    assert reason(process, sign(named, "HS256")) == "bad_signature"
    assert reason(process, sign(secret(), "HS256", kid="named")) == "bad_signature"
    assert reason(process, sign(rsa(), "RS256", kid=None)) == "unknown_key"
    assert reason(process, sign(rsa("another"), "RS256")) == "unknown_key"
    assert reason(process, sign(rsa("another"), "RS256", kid=rsa().kid)) == "bad_signature"


def test_a_public_key_is_not_a_secret(process: GatewayProcess) -> None:
    """The public keys are public: none of their bytes, and no name of a file, may work as a secret."""
    pem = tokens.public(rsa())
    files = folder(process)
    guesses = [pem, pem.strip(), pem + "\n", decode(pem.split("-----")[2]).hex(), str(files), "", rsa().kid or ""]
    guesses += [str(path) for path in files.iterdir()] + [path.name for path in files.iterdir()]
    for guess in filter(None, guesses):
        for kid in (rsa().kid, None, "named"):
            assert reason(process, tokens.confuse(guess, kid)) in {"bad_signature", "unknown_key"}


def test_a_curve_is_one_algorithm(process: GatewayProcess) -> None:
    for algorithm in CURVES:
        for other in set(ALGORITHMS) - {algorithm}:
            head, body, signature = sign(ec(algorithm), algorithm).split(".")
            header = json.loads(decode(head)) | {"alg": other}
            forged = f"{encode(json.dumps(header).encode())}.{body}.{signature}"
            assert reason(process, forged) in {"unknown_key", "bad_signature"}


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"alg": "none"}, "wrong_algorithm"),
    "None": ({"alg": "None"}, "wrong_algorithm"),
    "NONE with a name": ({"alg": "NONE", "kid": "named"}, "wrong_algorithm"),
    "missing": ({"typ": "JWT"}, "malformed"),
    "empty": ({"alg": ""}, "wrong_algorithm"),
    "null": ({"alg": None}, "malformed"),
    "an object": ({"alg": {"HS256": 1}}, "malformed"),
    "a number": ({"alg": 256}, "wrong_algorithm"),
    "lower case": ({"alg": "hs256"}, "wrong_algorithm"),
    "more than that": ({"alg": "HS256x"}, "wrong_algorithm"),
    "not ours": ({"alg": "PS256", "kid": "rsa"}, "wrong_algorithm"),
    "nor this": ({"alg": "EdDSA"}, "wrong_algorithm"),
    "critical": ({"alg": "HS256", "crit": ["exp"], "exp": 1}, "malformed"),
    "a path": ({"alg": "RS256", "kid": "../../../../dev/null"}, "unknown_key"),
    "a statement": ({"alg": "RS256", "kid": "x' OR 1=1 --"}, "unknown_key"),
    "a line": ({"alg": "RS256", "kid": "rsa\r\nX: y"}, "unknown_key"),
    "its own key": ({"alg": "RS256", "jwk": tokens.jwk(rsa("evil")), "jku": "http://evil"}, "unknown_key"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_a_header_that_wants_to_be_believed(process: GatewayProcess, case: str, signature: str) -> None:
    header, why = HEADERS[case]
    token = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims()).encode())}.{signature}"
    assert reason(process, token) == why
    assert reason(process, token, "/optional") == why


GARBAGE = [
    "",
    "x",
    "x.y",
    "x.y.",
    "..",
    "a..c",
    "a.b.c.d",
    "a.b.c.d.e",
    "a b.c.d",
    "a.b.c=",
    "a+b/.c.d",
    "é.b.c",
    "a" * 8000,
]


@pytest.mark.parametrize("token", GARBAGE)
def test_what_is_no_token(process: GatewayProcess, token: str) -> None:
    for path in ("/required", "/optional"):
        assert reason(process, token, path) == "malformed"


def test_an_algorithm_in_a_list(process: GatewayProcess) -> None:
    """HAProxy 2.6 reads nothing, 3.0 the text of the list."""
    head = encode(json.dumps({"alg": ["HS256"]}).encode())
    found = {reason(process, f"{head}.{encode(json.dumps(claims()).encode())}.{text}") for text in ("", "AAAA")}
    assert found <= {"malformed", "wrong_algorithm"}


def test_a_zero_hides_nothing(process: GatewayProcess) -> None:
    header = {"alg": "HS256\0none", "kid": "named\0"}
    token = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims()).encode())}."
    for signature in ("", "AAAA"):
        assert reason(process, token + signature) in {"bad_signature", "unknown_key", "wrong_algorithm"}


def known_tokens(process: GatewayProcess) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(folder(process) / "haproxy.sock"))
        connection.sendall(b"show table known_tokens\n")
        text = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    return int(re.findall(r"used:(\d+)", text)[0])


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
def test_a_token_that_is_known_is_good_for_itself_alone(process: GatewayProcess, algorithm: str) -> None:
    """It is longer than any table's key: what follows its beginning counts as well."""
    token = sign(key_for(algorithm), algorithm, claims(text="x" * 3000, jti=algorithm, roles=["reader"]))
    before = known_tokens(process)
    first = seen(process, token)
    assert known_tokens(process) == before + 1
    again = seen(process, token)
    assert {**again, "x-request-id": ""} == {**first, "x-request-id": ""}
    assert known_tokens(process) == before + 1
    head, body, signature = token.split(".")
    other = "B" if signature[0] == "A" else "A"
    for wrong in (other + signature[1:], signature[:-8] + "AAAAAAAA", signature[:-4], ""):
        assert reason(process, f"{head}.{body}.{wrong}") in {"bad_signature", "malformed"}
    assert reason(process, f"{head}.{encode(json.dumps(claims(sub='admin')).encode())}.{signature}") == "bad_signature"
    assert known_tokens(process) == before + 1
    # What a route wants beyond it is asked each time.
    assert ask(process, "/read", token).status == 403


def test_a_token_that_is_known_ends_in_time(process: GatewayProcess) -> None:
    ends = int(time.time()) + 2 - LEEWAY
    token = sign(secret(), "HS256", claims(exp=ends, jti="short"))
    assert seen(process, token)
    assert seen(process, token)
    until(lambda: ask(process, "/required", token).status == 401, 10, "it has expired")
    assert reason(process, token) == "expired"
    assert time.time() >= ends + LEEWAY


def test_a_token_that_is_not_good_is_not_learned(process: GatewayProcess) -> None:
    before = known_tokens(process)
    now = int(time.time())
    for changes in ({"exp": now - 100}, {"nbf": now + 100}, {"iss": "another"}, {"aud": "x"}, {"sub": " x"}):
        for _ in range(2):
            assert ask(process, "/required", sign(secret(), "HS256", claims(**changes))).status == 401
    assert known_tokens(process) == before


def hmac_token(header: str, payload: str, *, bits: tuple[int, int] = (0, 0)) -> str:
    """What no library writes: these very texts, and these unused bits at their ends, with a good signature."""
    parts = [other_bits(encode(text.encode()), more) for text, more in zip((header, payload), bits, strict=True)]
    signed = ".".join(parts)
    return f"{signed}.{encode(hmac.digest(tokens.SECRET.encode(), signed.encode(), 'sha256'))}"


def other_bits(text: str, more: int) -> str:
    """Another spelling of the same bytes, where the last character has unused bits."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    found = text[:-1] + letters[letters.index(text[-1]) + more]
    assert decode(found) == decode(text)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_has_one_spelling(process: GatewayProcess, algorithm: str) -> None:
    """RFC 7518, section 3.4: R and S have the length of the curve, no other; and base64url has no spare bits."""
    token = sign(key_for(algorithm), algorithm)
    signed, _, signature = token.rpartition(".")
    raw = decode(signature)
    wrong = [f"{signature}A", signature[:-1]]
    if len(raw) % 3:
        wrong += [other_bits(signature, more) for more in ((1, 2, 3) if len(raw) % 3 == 2 else (1, 8, 15))]
    if algorithm in CURVES:
        r, s = raw[: len(raw) // 2], raw[len(raw) // 2 :]
        wrong += [encode(bytes(n) + r + bytes(n) + s) for n in (1, 2, 3, 66, 100)]
    for text in wrong:
        assert reason(process, f"{signed}.{text}") in {"malformed", "bad_signature"}, text
    assert seen(process, token)


def test_a_claim_has_one_spelling(process: GatewayProcess) -> None:
    """What another reader could read otherwise: it may take the last of two claims, and decodes escapes in names."""
    exp = int(time.time()) + 600
    head = '{"alg":"HS256"}'
    good = f'"sub":"user-7","iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{exp}'

    def says(header: str, payload: str, **more: Any) -> str:
        answer = ask(process, "/required", hmac_token(header, payload, **more))
        return str(answer.body.get("reason", answer.status))

    assert says(head, f"{{{good}}}") == "200"
    assert says(head, f"{{\n {good.replace(',', ' , ')} }}\n") == "200"
    refused = (
        '"sub":"admin"',
        '"s\\u0075b":"admin"',
        '"\\u0073ub":"admin"',
        '"exp":9999999999',
        '"nbf":0,"nbf":9999999999',
        '"x":{"sub":1,"a":[{"b":1,"c":2,"b":3}]}',
        '"realm_access":{"roles":["user"],"roles":["admin"]}',
        '"realm_access":{"roles":["user"]},"realm_access":{"roles":["admin"]}',
        '"https://a.example/team":"x","https:\\/\\/a.example\\/team":"y"',
        '"x":1,',
        '"x"',
        '"x":1}{"y":2',
    )
    for more in refused:
        assert says(head, f"{{{good},{more}}}") == "malformed", more
    accepted = (
        '"x":{"sub":1,"x":{"x":[]}},"y":[{"x":1},{"x":2}],"z":"\\u0073ub \\"sub\\":1"',
        '"https://claims.example/v1.team":"x"',
        '"https:\\/\\/claims.example\\/v1.team":"x"',
        '"name\\u00e9":1,"a\\u0026b":2,"a\\"b":3,"naïve":4,"":5',
        ",".join(f'"member{number}":{number}' for number in range(400)),
        '"x":' + "[" * 60 + "]" * 60,
        '"x":' + '{"x":' * 60 + "1" + "}" * 60,
        '"x":"' + "x" * 6000 + '"',
    )
    for more in accepted:
        assert says(head, f"{{{good},{more}}}") == "200", more
    for header in (
        '{"alg":"none","alg":"HS256"}',
        '{"alg":"HS256","alg":"none"}',
        '{"alg":"HS256","kid":"x","kid":"named"}',
        '{"alg":"HS256","cr\\u0069t":["exp"]}',
        '{"alg":"HS256","\\u0063rit":["exp"]}',
        '{"alg":"HS256","\\u006bid":"named"}',
        '{"alg":"HS256"} x',
    ):
        assert says(header, f"{{{good}}}") in {"malformed", "wrong_algorithm"}, header
    for bits in ((1, 0), (0, 1)):
        # One byte more than full groups of three: four unused bits.
        padded = [text.ljust(len(text) + (1 - len(text)) % 3) for text in (head, f"{{{good}}}")]
        assert says(*padded) == "200"
        assert says(*padded, bits=bits) == "malformed"


@pytest.mark.parametrize("exp", ['"9999999999"', "1e10", "1E10", "+9999999999", "09999999999", "0x2540be3ff", "1e400"])
def test_a_time_has_one_spelling(process: GatewayProcess, exp: str) -> None:
    payload = f'{{"sub":"user-7","iss":"{ISSUER}","aud":"{AUDIENCE}","exp":%s}}'
    assert ask(process, "/required", hmac_token('{"alg":"HS256"}', payload % "9999999999.25")).status == 200
    assert reason(process, hmac_token('{"alg":"HS256"}', payload % exp)) in {"malformed", "expired"}
    later = payload % f'9999999999,"nbf":{exp}'
    assert reason(process, hmac_token('{"alg":"HS256"}', later)) == "malformed"


def test_every_truncation(process: GatewayProcess) -> None:
    token = sign(secret(), "HS256")
    for length in range(0, len(token), 7):
        assert reason(process, token[:length]) in {"malformed", "bad_signature"}


def test_what_chance_makes_of_a_token(process: GatewayProcess) -> None:
    """Whatever gets in says what the issuer has signed."""
    dice = random.Random(20)
    good = {algorithm: sign(key_for(algorithm), algorithm) for algorithm in ("HS256", "RS256", "ES256")}
    letters = "".join(map(chr, range(33, 127)))
    with closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)) as connection:
        for _ in range(600):
            token = good[dice.choice(sorted(good))]
            changed = list(token)
            for _ in range(dice.choice((1, 1, 2, 5))):
                place = dice.randrange(len(changed))
                changed[place : place + dice.randrange(2)] = dice.choice(letters + "....AAAA") * dice.randrange(2)
            text = "".join(changed)
            connection.request("GET", "/required", headers={"Authorization": f"Bearer {text}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 401 or text.rpartition(".")[0] == token.rpartition(".")[0], text


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{",
        b"\xff\xfe",
        b'{"exp":',
        b"[1" * 100,
        b'{"sub":"x","exp":9999999999}x',
    ],
)
def test_a_signed_payload_that_is_no_object(process: GatewayProcess, payload: bytes) -> None:
    answer = ask(process, "/required", sign(secret(), "HS256", payload))
    assert answer.status == 401
    assert answer.body["reason"] in {"malformed", "missing_claim", "wrong_issuer"}


def test_the_clock(process: GatewayProcess) -> None:
    def says(**more: Any) -> str:
        answer = ask(process, "/required", sign(secret(), "HS256", claims(**more)))
        return str(answer.body.get("reason", answer.status))

    now = int(time.time())
    # At the edges a second may pass meanwhile.
    assert says(exp=now - LEEWAY - 1) == "expired"
    assert says(exp=now - LEEWAY) == "expired"
    assert says(exp=now - LEEWAY + 2) == "200"
    assert says(exp=now + 0.5) == "200"
    assert says(nbf=now) == "200"
    assert says(nbf=now + LEEWAY) == "200"
    assert says(nbf=now + LEEWAY + 5) == "not_yet_valid"
    assert says(exp=now - 100, nbf=now + 100) == "expired"
    assert says(exp=2**53 - 1) == "200"
    for wrong in (0, -1, 1, -(2**60)):
        assert says(exp=wrong) in {"expired", "malformed", "missing_claim"}
    for wrong_type in ("soon", "", [now + 60], {"at": now + 60}, True, 1e308, 2**70, -1e308):
        assert says(exp=wrong_type) in {"expired", "malformed", "missing_claim"}, wrong_type
    assert says(exp=None) == "missing_claim"
    assert says(nbf="later") == "malformed"
    assert says(nbf=-5) == "malformed"
    assert says(nbf=[now]) == says(nbf=2**70) == "malformed"
    assert says(text="nbf", credential={"nbf": now + 100, "exp": 1}) == "200"


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://issuer.example"}, "wrong_issuer"),
    "an issuer that goes on": ({"iss": f"{ISSUER}.evil"}, "wrong_issuer"),
    "no issuer": ({"iss": None}, "wrong_issuer"),
    "the issuer elsewhere": ({"iss": "x", "a": {"iss": ISSUER}}, "wrong_issuer"),
    "the issuer in a text": ({"iss": f'x","iss":"{ISSUER}'}, "wrong_issuer"),
    "another audience": ({"aud": "https://api"}, "wrong_audience"),
    "no audience": ({"aud": None}, "wrong_audience"),
    "not in the list": ({"aud": ["x", f"{AUDIENCE}/", f"x{AUDIENCE}"]}, "wrong_audience"),
    "an empty list": ({"aud": []}, "wrong_audience"),
    "deeper in the list": ({"aud": [[AUDIENCE], {"x": AUDIENCE}]}, "wrong_audience"),
    "quoted in the list": ({"aud": [f'x"{AUDIENCE}', f'\\"{AUDIENCE}"', f'","{AUDIENCE}","']}, "wrong_audience"),
    "an object": ({"aud": {"x": AUDIENCE}}, "wrong_audience"),
    "the audience elsewhere": ({"aud": "x", "a": {"aud": AUDIENCE}, "b": [{"aud": [AUDIENCE]}]}, "wrong_audience"),
    "a user with a line of his own": ({"sub": "x\r\nX-User-Id: admin"}, "malformed"),
    "a user with a zero": ({"sub": "admin\0x"}, "malformed"),
    "a user with a space before": ({"sub": " admin"}, "malformed"),
    "a user with a space after": ({"sub": "admin\t"}, "malformed"),
    "a user without a name": ({"sub": ""}, "malformed"),
    "a list as the user": ({"sub": ["admin"]}, "malformed"),
    "an object as the user": ({"sub": {"name": "admin"}}, "malformed"),
    "roles with a line": ({"roles": "a\nb"}, "malformed"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_a_claim_that_is_not_what_it_should_be(process: GatewayProcess, case: str) -> None:
    changes, why = CLAIMS[case]
    assert reason(process, sign(secret(), "HS256", claims(**changes))) == why


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"aud": ["x", AUDIENCE]},
        {"aud": [AUDIENCE]},
        {"aud": [1, None, {"a": ["]"]}, "\\", '"', AUDIENCE, "y"]},
        {"iss": "https://other.example"},
        {"a": {"aud": "x"}, "text": '"aud":["x"]', "aud": AUDIENCE},
    ],
)
def test_issuers_and_audiences(process: GatewayProcess, changes: dict[str, Any]) -> None:
    assert seen(process, sign(secret(), "HS256", claims(**changes)))
    # As others write JSON.
    pretty = json.dumps(claims(**changes), indent=2).replace("/", "\\/").encode()
    assert seen(process, sign(secret(), "HS256", pretty))


def test_claims_as_headers(process: GatewayProcess) -> None:
    def headers(**more: Any) -> dict[str, str]:
        found = seen(process, sign(secret(), "HS256", claims(**more)))
        return {name[2:]: value for name, value in found.items() if name in ("x-user-id", *others)}

    others = ("x-user-roles", "x-realm-roles", "x-team")
    assert headers() == {"user-id": "user-7"}
    assert headers(sub=12345678901) == {"user-id": "12345678901"}
    assert headers(sub=None) == {}
    assert headers(roles="one two", sub="ü".encode().decode("latin-1"))["user-roles"] == "one two"
    found = headers(
        name='"roles":["admin"]',
        a={"roles": ["nested"]},
        roles=["users:read", 'quo"te', "]", "a,b", "ü"],
        realm_access={"x": {"roles": ["deeper"]}, "roles": ["one", "two"]},
        **{"https://claims.example/v1.team": "blue"},
    )
    assert json.loads(found["user-roles"]) == ["users:read", 'quo"te', "]", "a,b", "ü"]
    assert json.loads(found["realm-roles"]) == ["one", "two"]
    assert found["team"] == "blue"
    # What is not there, or only somewhere else, is not passed on.
    assert headers(a={"roles": ["x"]}, name='{"roles":["x"]}', roles2=["x"], realm_access=[{"roles": ["x"]}]) == {
        "user-id": "user-7"
    }
    assert headers(roles={"a": ["x"]}, realm_access={"roles": {"b": 1}}) == {"user-id": "user-7"}
    assert headers(roles=[])["user-roles"] == "[]"
    assert headers(roles="[a text]")["user-roles"] == headers(sub="[a text]")["user-id"] == "[a text]"
    pretty = json.dumps(claims(roles=["one", "two"]), indent=2).encode()
    assert json.loads(seen(process, sign(secret(), "HS256", pretty))["x-user-roles"]) == ["one", "two"]


FORGED = [
    *("X-User-Id", "x-user-id", "X_User_Id", "X_USER-ID", "X-User_Id", "X.User.Id", "X-User~Id"),
    *("X-User-Roles", "X_User_Roles", "X-Realm-Roles", "X_Realm_Roles", "X-Team", "x_team"),
]


@pytest.mark.parametrize("path", ["/none", "/optional", "/required"])
def test_no_client_speaks_for_a_user(process: GatewayProcess, path: str) -> None:
    forged = [(name, "admin") for name in FORGED]
    token = sign(secret(), "HS256") if path == "/required" else None
    answer = ask(process, path, token, *forged, ("X-User-Idea", "kept"))
    assert answer.status == 200
    told = {name: value for name, value in answer.body["headers"].items() if name.startswith(("x-", "x_"))}
    assert "admin" not in told.values()
    assert told.get("x-user-id") == ("user-7" if token else None)
    assert told["x-user-idea"] == "kept"


def test_a_header_named_in_connection_is_not_lost(process: GatewayProcess) -> None:
    answer = ask(process, "/required", sign(secret(), "HS256"), ("Connection", "X-User-Id, close"))
    assert answer.body["headers"]["x-user-id"] == "user-7"
    assert "x-user-id" not in answer.body["headers"].get("connection", "").lower()


def test_without_a_token(process: GatewayProcess) -> None:
    answer = ask(process, "/required")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.body["reason"] == "missing"
    basic = ("Authorization", "Basic dXNlcjpwYXNz")
    assert ask(process, "/required", None, basic).body["reason"] == "missing"
    assert ask(process, "/optional").status == 200
    assert ask(process, "/optional", None, basic).body["headers"]["authorization"] == basic[1]
    # There it is not checked: it may be for the backend alone.
    assert ask(process, "/none", "not.ours").body["headers"]["authorization"] == "Bearer not.ours"
    assert ask(process, "/api/about-me", "not.ours").status == 200


def test_one_token_in_one_header(process: GatewayProcess) -> None:
    """Whatever the backend reads out of it is what was checked."""
    good = f"Bearer {sign(secret(), 'HS256')}"
    assert ask(process, "/optional", None, ("authorization", good.replace("Bearer ", "bEARER   "))).status == 200
    for other in ("Bearer evil.evil.evil", "Basic dXNlcjpwYXNz", good):
        for pair in ((good, other), (other, good)):
            answer = ask(process, "/optional", None, *(("Authorization", value) for value in pair))
            assert answer.status == 400, pair
    for header in (
        f"{good}, Bearer evil.evil.evil",
        f"{good},",
        good.replace(" ", "\t"),
        good.replace(" ", ""),
        f"{good} evil",
        f"Basic x, {good}",
        "Bearer",
        "Bearer ",
    ):
        answer = ask(process, "/optional", None, ("Authorization", header))
        assert (answer.status, answer.body["reason"]) == (401, "malformed"), header


def test_the_header_of_another_proxy_is_not_taken(process: GatewayProcess) -> None:
    """HAProxy's http_auth_bearer, left alone, looks there where a request names the whole URL."""
    good = f"Bearer {sign(secret(), 'HS256')}"
    url = f"http://127.0.0.1:{process.port}/required"
    headers = [("Proxy-Connection", "keep-alive"), ("Proxy-Authorization", good)]
    assert ask(process, url, "evil.evil.evil", *headers).status == 401
    assert ask(process, url, None, *headers).status == 401
    assert ask(process, url, None, ("Authorization", good)).status == 200


def test_scopes(process: GatewayProcess) -> None:
    def status(path: str, **more: Any) -> int:
        return int(ask(process, path, sign(secret(), "HS256", claims(**more))).status)

    for good in ("users:read", "a users:read", "users:read z", "a  users:read z", ["users:read"], ["a", "users:read"]):
        assert status("/read", scope=good) == 200
        assert status("/read", scp=good) == 200
    for bad in (
        "",
        "users:rea",
        "users:reader",
        "xusers:read",
        "users",
        None,
        [],
        ["x users:read"],
        {"a": "users:read"},
    ):
        assert status("/read", scope=bad) == 403
    assert status("/read", a={"scope": "users:read"}, text='"scope":"users:read"') == 403
    assert status("/admin", scope="b,c) users:read") == 200
    assert status("/admin", scope="b,c)", scp=["users:read"]) == 200
    assert status("/admin", scope="b,c)") == status("/admin", scope="users:read") == 403
    refused = ask(process, "/admin", sign(secret(), "HS256"))
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="users:read b,c)"'
    assert refused.body["reason"] == "insufficient_scope"
    assert ask(process, "/read").status == 401


def test_the_access_log_tells_the_user_and_what_is_wrong(process: GatewayProcess) -> None:
    seen(process, sign(secret(), "HS256"), "/required/good")
    line = process.logged("/required/good")
    assert (line["user"], line["token"]) == ("user-7", "-")
    reason(process, sign(secret(), "HS256", claims(exp=1)), "/required/late")
    line = process.logged("/required/late")
    assert (line["user"], line["token"]) == ("-", "expired")


def test_no_secret_is_to_be_seen(process: GatewayProcess) -> None:
    """Last in this file's first part: by now much has been logged."""
    files = folder(process)
    for path in files.iterdir():
        if path.is_file() and path.name != "pid":
            assert path.stat().st_mode & 0o777 == 0o600, path
    assert files.stat().st_mode & 0o777 == 0o700
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in (process.pid, *process.children)]
    said = process.log + str(arguments) + str(process.request("/health/detailed")) + process.request("/metrics").body
    for text in (NAMED, tokens.SECRET, json.dumps(tokens.SECRET)[1:-1]):
        assert text not in said
        # Nor in pieces.
        assert all(word not in said for word in re.findall(r"\w{8,}", text))
    assert "Bearer ey" not in process.log


# From here on each test has a gateway of its own.


def served(process: GatewayProcess, key: tokens.Key, algorithm: str, path: str = "/required") -> Callable[[], bool]:
    return lambda: bool(ask(process, path, sign(key, algorithm)).status == 200)


def settles(process: GatewayProcess, key: tokens.Key, algorithm: str, status: int, what: str) -> None:
    """While one HAProxy takes over from another, both answer."""
    token = sign(key, algorithm)
    until(lambda: all(ask(process, "/required", token).status == status for _ in range(5)), 15, what)


def test_secrets_rotate_under_load(gateway: Start, backend: Backend, secrets_manager: SecretsManager) -> None:
    arn = secrets_manager.store("app", {"JWT_SECRET": material(OLD)})
    process = gateway(
        **secrets_manager.environment, ROUTES=routes(backend.url), AWS_SECRET_ARN=arn, SECRETS_REFRESH_SECONDS="0.5"
    ).ready()
    assert served(process, OLD, "HS256")()
    assert not served(process, NEW, "HS256")()
    stays = {"Authorization": f"Bearer {sign(OLD, 'HS256')}"}
    with Load(process.port, "/required", headers=stays) as load:
        secrets_manager.store("app", {"JWT_SECRET": material(NEW), "JWT_SECRETS": [material(OLD)]})
        settles(process, NEW, "HS256", 200, "the new secret counts")
        until(lambda: load.requests > 50, 15, "there was load")
    assert load.failures == []
    with Load(process.port, "/required", headers={"Authorization": f"Bearer {sign(NEW, 'HS256')}"}) as load:
        secrets_manager.store("app", {"JWT_SECRET": material(NEW)})
        settles(process, OLD, "HS256", 401, "the old secret does not count any more")
    assert load.failures == []
    assert all(material(key) not in process.log for key in (OLD, NEW))


def test_a_secret_that_can_not_be_used_leaves_the_one_before(
    gateway: Start, backend: Backend, secrets_manager: SecretsManager
) -> None:
    arn = secrets_manager.store("app", {"JWT_SECRET": material(OLD)})
    process = gateway(
        **secrets_manager.environment, ROUTES=routes(backend.url), AWS_SECRET_ARN=arn, SECRETS_REFRESH_SECONDS="0.5"
    ).ready()
    secrets_manager.store("app", {"JWT_SECRET": tokens.public(rsa())})
    until(lambda: "is a PEM key" in process.log, 10, "it says why")
    assert served(process, OLD, "HS256")()
    assert reason(process, tokens.confuse(tokens.public(rsa()), None)) == "bad_signature"


def test_keys_of_a_jwk_set_rotate_under_load(gateway: Start, backend: Backend) -> None:
    with JwksServer(tokens.jwk(rsa("one"), alg="RS256")) as jwks:
        process = gateway(ROUTES=routes(backend.url), JWKS_URL=jwks.url, JWKS_COOLDOWN_SECONDS="1").ready()
        assert served(process, rsa("one"), "RS256")()
        # It was published for one algorithm.
        assert not served(process, rsa("one"), "RS512")()
        with Load(process.port, "/required", headers={"Authorization": f"Bearer {sign(rsa('one'), 'RS256')}"}) as load:
            jwks.publish(tokens.jwk(rsa("one")), tokens.jwk(ec("ES256", "two")))
            # Only the token that names it says so.
            settles(process, ec("ES256", "two"), "ES256", 200, "the new key counts")
        assert load.failures == []
        assert load.requests > 50
        jwks.publish(tokens.jwk(ec("ES256", "two")))
        ask(process, "/required", sign(rsa("three"), "RS256"))
        settles(process, rsa("one"), "RS256", 401, "the old key does not count any more")
        assert served(process, ec("ES256", "two"), "ES256")()


def test_made_up_key_ids_make_it_ask_now_and_then_only(gateway: Start, backend: Backend) -> None:
    with JwksServer(tokens.jwk(rsa())) as jwks:
        process = gateway(ROUTES=routes(backend.url), JWKS_URL=jwks.url, JWKS_COOLDOWN_SECONDS="1.5").ready()
        forged, started, before = sign(rsa("another"), "RS256"), time.monotonic(), jwks.reads
        asked = 0
        while time.monotonic() < started + 4:
            assert reason(process, forged) == "unknown_key"
            asked += 1
        assert asked > 20
        assert 1 <= jwks.reads - before <= 4
        assert process.log.count("haproxy: ") < 20
        assert served(process, rsa(), "RS256")()


def test_a_jwk_set_that_can_not_be_read_leaves_the_keys(gateway: Start, backend: Backend) -> None:
    with JwksServer(tokens.jwk(rsa())) as jwks:
        process = gateway(ROUTES=routes(backend.url), JWKS_URL=jwks.url, JWKS_REFRESH_SECONDS="1").ready()

        def keys() -> Any:
            return process.request("/health").body["dependencies"].get("keys")

        jwks.publish(tokens.jwk(secret("known to everybody, as it is published")))
        until(lambda: (keys() or {}).get("status") == "stale", 10, "health says so")
        assert "no usable key" in keys()["error"]
        assert process.status("/api/health") == 200
        assert served(process, rsa(), "RS256")()
        forged = sign(secret("known to everybody, as it is published"), "HS256")
        assert reason(process, forged) == "unknown_key"
        jwks.publish(tokens.jwk(rsa()))
        until(lambda: keys() is None, 10, "it is well again")
    until(lambda: (keys() or {}).get("status") == "stale", 10, "no answer")
    assert served(process, rsa(), "RS256")()
    assert "gateway_token_keys 1.0" in process.request("/metrics").body


def test_it_starts_before_its_keys(gateway: Start, backend: Backend) -> None:
    """Until then what needs no token is served, and nothing is let in that does."""
    with JwksServer(tokens.jwk(rsa())) as jwks:
        jwks.status = 503
        process = gateway(ROUTES=routes(backend.url), JWKS_URL=jwks.url).answers("/none", 200)
        answer = ask(process, "/required", sign(rsa(), "RS256"))
        assert (answer.status, answer.body["reason"]) == (503, "no_keys")
        assert ask(process, "/required").status == 401
        until(lambda: "keys: JWKS_URL: answers 503" in process.request("/api/health").body["reasons"], 10, "the reason")
        jwks.status = 200
        process.ready()
        assert served(process, rsa(), "RS256")()


@pytest.mark.parametrize("source", ["jwks", "secrets manager"])
def test_the_next_control_plane_knows_the_keys_at_once(
    gateway: Start, backend: Backend, secrets_manager: SecretsManager, source: str
) -> None:
    """It finds an HAProxy that serves, and no server to ask."""
    with JwksServer(tokens.jwk(rsa())) as jwks:
        arn = secrets_manager.store("app", {"JWT_SECRET": material(OLD)})
        more = {"JWKS_URL": jwks.url}
        key, algorithm = (rsa(), "RS256")
        if source != "jwks":
            more, key, algorithm = {"AWS_SECRET_ARN": arn} | secrets_manager.environment, OLD, "HS256"  # type: ignore[assignment]
        process = gateway("supervisor", ROUTES=routes(backend.url), **more).ready()
        with Load(process.port, "/required", headers={"Authorization": f"Bearer {sign(key, algorithm)}"}) as load:
            jwks.status = 500
            del secrets_manager.secrets[arn]
            os.kill(control_of(process), signal.SIGKILL)
            until(lambda: process.status("/api/health") in (502, 503), 5, "the control plane is gone")
            if source == "jwks":
                process.ready()
            else:
                until(lambda: "ResourceNotFoundException" in process.log, 10, "the secrets are not to be had")
            settles(process, key, algorithm, 200, "it is served on")
    assert load.failures == []


def test_no_key_at_all(gateway: Start, backend: Backend) -> None:
    process = gateway(ROUTES=routes(backend.url)).answers("/none", 200)
    until(lambda: "set JWT_SECRET" in str(process.request("/api/health").body.get("reasons")), 10, "what to do")
    assert process.status("/api/health") == 503
    assert ask(process, "/required", sign(secret(), "HS256")).status == 503


def test_a_jwk_set_in_a_file(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [tokens.jwk(OLD, kid="s", alg="HS384")]}))
    process = gateway(ROUTES=routes(backend.url), JWKS_FILE=str(path)).ready()
    assert ask(process, "/required", sign(OLD, "HS384", kid="s")).status == 200
    assert ask(process, "/required", sign(OLD, "HS256", kid="s")).status == 401
    new = tmp_path / "new"
    new.write_text(json.dumps({"keys": [tokens.jwk(rsa())]}))
    new.rename(path)
    settles(process, rsa(), "RS256", 200, "the new file counts")
    assert ask(process, "/required", sign(OLD, "HS384", kid="s")).status == 401
    path.write_text("{")
    until(lambda: "JWKS_FILE: not a JWK set" in process.log, 10, "it says why")
    assert served(process, rsa(), "RS256")()


def test_bad_tokens_are_limited_like_everything_else(gateway: Start, backend: Backend) -> None:
    process = gateway(
        ROUTES=routes(backend.url), JWT_SECRET=material(OLD), RATE_LIMIT_ENABLED="true", RATE_LIMIT_CLIENT="5"
    ).ready()
    found = [ask(process, "/required", sign(NEW, "HS256")).status for _ in range(8)]
    assert found == [401] * 5 + [429] * 3
    # A user has a limit of his own.
    assert served(process, OLD, "HS256")()


def test_an_old_haproxy_with_https_upstreams_is_told_of(gateway: Start, backend: Backend) -> None:
    https = [{"prefix": "/tls", "upstream": "https://127.0.0.1:9", "auth": "required"}]
    process = gateway(ROUTES=json.dumps(https), JWT_PUBLIC_KEY=tokens.public(rsa())).ready()
    version = re.search(r"version (\d+)\.(\d+)\.(\d+)", haproxy_version())
    assert version
    assert ("bug in this HAProxy version" in process.log) == (tuple(map(int, version.groups())) < (3, 0, 4))


def test_without_routes_that_look_at_tokens_there_are_no_rules(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url, JWT_SECRET=material(OLD)).ready()
    assert "jwt" not in (folder(process) / "haproxy.cfg").read_text()
    answer = ask(process, "/api/users", "not.a.token", ("X-User-Id", "as before"))
    assert answer.body["headers"]["x-user-id"] == "as before"


def test_a_secret_that_nobody_needs_may_be_anything(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url, JWT_SECRET=tokens.public(rsa()), JWT_SECRETS="no list").ready()
    assert ask(process, "/api/users").status == 200
    assert "no route verifies tokens" in process.log


def test_a_default_for_all_routes(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url, JWT_SECRET=material(OLD), AUTH_DEFAULT="required").ready()
    assert ask(process, "/api/users").status == 401
    assert served(process, OLD, "HS256", "/api/users")()


def test_a_route_that_comes_to_ask_for_tokens(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    """The settings change while it runs; the keys are there when they do."""
    (tmp_path / ".env").write_text("AUTH_DEFAULT=none")
    process = gateway(
        USERS_SERVICE_URL=backend.url,
        JWT_SECRET=material(OLD),
        CONFIG_DIR=str(tmp_path),
        CONFIG_WATCH_SECONDS="0.2",
    ).ready()
    assert ask(process, "/api/users").status == 200
    (tmp_path / ".env").write_text("AUTH_DEFAULT=required")
    until(lambda: ask(process, "/api/users").status == 401, 10, "the token is missed")
    until(served(process, OLD, "HS256", "/api/users"), 10, "the keys are known")
    with JwksServer(tokens.jwk(rsa())) as jwks:
        (tmp_path / ".env").write_text(f"AUTH_DEFAULT=required\nJWKS_URL={jwks.url}")
        until(served(process, rsa(), "RS256", "/api/users"), 10, "the new source counts")
        (tmp_path / ".env").write_text("AUTH_DEFAULT=required\nAUTH_ALGORITHMS=RS256")
        until(lambda: not served(process, OLD, "HS256", "/api/users")(), 10, "fewer algorithms")
