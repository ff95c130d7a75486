# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of scalable targets, which moto lacks."""

from __future__ import annotations

import json
import threading
from collections import defaultdict

from werkzeug.wrappers import Request, Response

from .calls import Call

OPERATIONS = ("ListTagsForResource", "TagResource", "UntagResource")


class ScalingTags:
    """Answers the calls about tags in Application Auto Scaling; by the ARN of a target."""

    def __init__(self) -> None:
        self.tags: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._lock = threading.Lock()

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "application-autoscaling" or call.action not in OPERATIONS:
            return None
        given = json.loads(request.get_data())
        with self._lock:
            tags = self.tags[given["ResourceARN"]]
            tags.update(given.get("Tags", {}))
            for key in given.get("TagKeys", []):
                tags.pop(key, None)
            said = {"Tags": tags} if call.action == "ListTagsForResource" else {}
            return Response(json.dumps(said), content_type="application/x-amz-json-1.1")
