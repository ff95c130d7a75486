# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod of this instance in Kubernetes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from evenkeel_gateway.settings.part import Part


class PodSettings(Part):
    pod_name: str | None = None
    pod_deletion_cost: int = Field(default=1000, ge=0, le=2**31 - 1)
    """Of the leader's pod; 0: it gets no mark."""
    pod_service_account_dir: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")

    @property
    def kubernetes_url(self) -> str | None:
        """The API server as the kubelet names it, outside Kubernetes None."""
        # No settings of their own: other variables of the kubelet resemble them.
        host = self.layers.values.get("KUBERNETES_SERVICE_HOST")
        port = self.layers.values.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            return None
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
