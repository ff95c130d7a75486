# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about an error that AWS or a registry reports."""

from __future__ import annotations

import re

Problems = tuple[tuple[str, str], ...]

# Patterns as text: compiling them costs more than everything else in a call that needs none.
AWS_PROBLEMS: Problems = (
    (
        r"ExpiredToken|security token included in the request is expired",
        "The AWS credentials have expired: renew them, or let the instance profile supply them.",
    ),
    (
        r"Signature expired|SignatureDoesNotMatch|RequestTimeTooSkewed|signature not yet current|InvalidSignature",
        "AWS refuses the signature: the clock of {machine} is off (timedatectl), or the secret key is wrong.",
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
        "{machine} has no AWS credentials: attach an instance profile, and check that root may reach 169.254.169.254.",
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


def advice(problems: Problems, message: str, machine: str) -> str:
    """The remedy for an error message, or "" for an unknown one. `machine`: what made the call, such as "this host"."""
    found = next((remedy for pattern, remedy in problems if re.search(pattern, message, re.I)), "")
    remedy = found.format(machine=machine)
    return remedy[:1].upper() + remedy[1:]
