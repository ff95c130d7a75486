# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for a failed image pull or registry login: what failed, the cause and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

from .._common.advice import AWS_PROBLEMS, Problems, advice
from .host import Result, free_space, is_disk_full

ECR_PROBLEMS: Problems = (
    (
        r"AccessDenied|is not authorized to perform",
        "AWS denies it: this host's role needs ecr:GetAuthorizationToken, and for the repository ecr:BatchGetImage, "
        "ecr:GetDownloadUrlForLayer and ecr:BatchCheckLayerAvailability.",
    ),
    *AWS_PROBLEMS,
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


def explain_aws(what: str, output: str) -> str:
    return f"{what}. {advice(ECR_PROBLEMS, output, machine='this host')}\n{last_lines(output)}"


def explain_pull(what: str, result: Result, place: Path) -> str:
    """`place`: what is written to, where the error itself doesn't name it."""
    output = result.stderr or result.stdout
    if is_disk_full(output):
        named = re.search(r"(/[^\s:]+): no space left on device", output, re.I)
        way_out = (
            f"The disk is full: {free_space(named[1] if named else place)}. Remove unused images (docker image prune)."
        )
    else:
        way_out = advice(PULL_PROBLEMS, output, machine="this host")
    return f"{what}. {way_out}\n{last_lines(output)}"


def last_lines(text: str, count: int = 4) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
