# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto lacks of log groups: their class, other keys, and AWS's refusal of a retention."""

from __future__ import annotations

import json
import threading
from typing import Any

from moto.logs.models import logs_backends
from werkzeug.wrappers import Request, Response

from .calls import Call, error

# As the API's reference has them.
DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
REFUSAL = "1 validation error detected: Value '{}' at 'retentionInDays' failed to satisfy constraint"


class LogGroups:
    """Answers the calls about log groups that moto does not answer as AWS does."""

    def __init__(self, account: str, region: str) -> None:
        self._backend: Any = logs_backends[account][region]
        self._classes: dict[str, str] = {}
        self._lock = threading.Lock()

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "logs":
            return None
        given = json.loads(request.get_data())
        if call.action == "PutRetentionPolicy" and given["retentionInDays"] not in DAYS:
            return error(call, "InvalidParameter", REFUSAL.format(given["retentionInDays"]))
        with self._lock:
            if call.action == "CreateLogGroup":
                self._classes[given["logGroupName"]] = given.get("logGroupClass", "STANDARD")
            if call.action in ("AssociateKmsKey", "DisassociateKmsKey"):
                self._backend.groups[given["logGroupName"]].kms_key_id = given.get("kmsKeyId")
                return Response("{}", content_type="application/x-amz-json-1.1")
            if call.action != "DescribeLogGroups":
                return None
            found = [
                {**group.to_describe_dict(), "logGroupClass": self._classes.get(name, "STANDARD")}
                for name, group in sorted(self._backend.groups.items())
                if name.startswith(given.get("logGroupNamePrefix", ""))
            ]
        return Response(json.dumps({"logGroups": found}), content_type="application/x-amz-json-1.1")
