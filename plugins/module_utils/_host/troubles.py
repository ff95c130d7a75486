# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS and registries say when they refuse, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from .host import Result, free_space, is_disk_full

Problems = tuple[tuple[str, str], ...]

# Patterns as text: compiling them costs more than everything else in a call that needs none.
AWS_PROBLEMS: Problems = (
    (
        r"ExpiredToken|security token included in the request is expired",
        "The AWS credentials have expired: renew them, or let the instance profile supply them.",
    ),
    (
        r"AccessDenied|is not authorized to perform",
        "AWS denies it: this host's role needs ecr:GetAuthorizationToken, and for the repository ecr:BatchGetImage, "
        "ecr:GetDownloadUrlForLayer and ecr:BatchCheckLayerAvailability.",
    ),
    (
        r"Signature expired|SignatureDoesNotMatch|RequestTimeTooSkewed|signature not yet current|InvalidSignature",
        "AWS refuses the signature: the clock of this host is off (timedatectl), or the secret key is wrong.",
    ),
    (
        r"UnrecognizedClient|InvalidClientTokenId|AuthFailure",
        "AWS doesn't know these credentials: check the access key, the account and the region.",
    ),
    (
        (
            r"unable to locate credentials|NoCredentialProviders|no EC2 IMDS role found|no valid providers"
            r"|failed to (?:refresh cached|retrieve) credentials"
        ),
        "This host has no AWS credentials: attach an instance profile, and check that root may reach 169.254.169.254.",
    ),
    (
        r"certificate|x509|SSLError",
        "The endpoint's certificate isn't trusted here: check the CA bundle (AWS_CA_BUNDLE) and the clock.",
    ),
    (
        r"could not connect|no such host|connection refused|i/o timeout|timed out|EndpointConnectionError|dial tcp",
        "The AWS endpoint can't be reached: check the route, the NAT or VPC endpoint, DNS and the region.",
    ),
)

PULL_PROBLEMS: Problems = (
    (
        r"manifest unknown|manifest for .* not found|name unknown|repository .* not found|image not found",
        "There is no such image or tag in the registry: check the tag or digest, and that it was pushed.",
    ),
    (
        r"toomanyrequests|rate exceeded|rate limit",
        "The registry limits the rate: wait a little, or roll fewer hosts at once.",
    ),
    (
        r"no basic auth credentials|unauthorized|authentication required|denied|\b40[13]\b|authorization token",
        "The registry refuses this host: log in first, and check the role's permissions and the repository's policy.",
    ),
    (
        r"certificate|x509",
        "The registry's certificate isn't trusted by this host: install its CA, and check the clock.",
    ),
    (
        r"no such host|connection refused|i/o timeout|timeout|timed out|connection reset|EOF|unreachable|dial tcp",
        "The registry can't be reached: check the route, the NAT or VPC endpoint, and DNS.",
    ),
)


def advice(problems: Problems, said: str) -> str:
    """What to do about it, or nothing for words that are not known."""
    return next((text for pattern, text in problems if re.search(pattern, said, re.I)), "")


def explain_aws(what: str, said: str) -> str:
    return f"{what}. {advice(AWS_PROBLEMS, said)}\n{last_lines(said)}"


def explain_pull(what: str, result: Result, place: Path) -> str:
    """`place`: what is written to, where the error itself doesn't name it."""
    said = result.stderr or result.stdout
    if is_disk_full(said):
        named = re.search(r"(/[^\s:]+): no space left on device", said, re.I)
        way_out = (
            f"The disk is full: {free_space(named[1] if named else place)}. Remove unused images (docker image prune)."
        )
    else:
        way_out = advice(PULL_PROBLEMS, said)
    return f"{what}. {way_out}\n{last_lines(said)}"


def last_lines(text: str, count: int = 4) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
