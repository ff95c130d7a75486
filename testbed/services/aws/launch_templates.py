# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch templates with more than one version, which moto lacks."""

from __future__ import annotations

from moto.core.types import Base64EncodedString
from moto.ec2.models import ec2_backends
from werkzeug.wrappers import Request, Response

from .calls import Call

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


class LaunchTemplates:
    """Versions that were added start instances, too, and may be deleted; in moto they go with their template."""

    def __init__(self, account: str, region: str) -> None:
        self._backend = ec2_backends[account][region]

    def answer(self, call: Call, _request: Request) -> Response | None:
        for template in self._backend.launch_templates.values():
            for version in template.versions:
                if isinstance(version.data.get("UserData"), str):
                    version.data["UserData"] = Base64EncodedString(version.data["UserData"])
        if (call.service, call.action) != ("ec2", "DeleteLaunchTemplateVersions"):
            return None
        sets = ("successfullyDeletedLaunchTemplateVersionSet", "unsuccessfullyDeletedLaunchTemplateVersionSet")
        body = "".join(f"<{name}/>" for name in sets)
        body = f'<{call.action}Response xmlns="{NAMESPACE}"><requestId>0</requestId>{body}</{call.action}Response>'
        return Response(body, content_type="text/xml")
