# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.evenkeel.fleet.plugins.modules import gateway_urls
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_aws import OnAws


class ActionModule(OnAws):
    module = gateway_urls
