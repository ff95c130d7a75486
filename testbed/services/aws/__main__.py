# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m aws ACCOUNT.json"""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path

from . import account, associations, calls
from .haproxy import HAProxy
from .launch_templates import LaunchTemplates
from .lifecycle import Lifecycles
from .listeners import Listeners
from .targets import TargetStates

CERTIFICATE = "/etc/testbed-tls/server.crt"
KEY = "/etc/testbed-tls/server.key"


def main() -> None:
    described = json.loads(Path(sys.argv[1]).read_text())
    account.make_account(described)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    servers = {host["instance_id"]: name for name, host in described["hosts"].items()}
    traffic = HAProxy("lb.testbed.internal", 9999, described["group"], servers)
    states = TargetStates(traffic, registering=1.0, draining=30.0)
    states.take_for_registered(described["group"], servers)
    lifecycles = Lifecycles(states, described["account"], described["region"])
    templates = LaunchTemplates(described["account"], described["region"])
    balancers = [associations.answer, states.answer, Listeners(states).answer]
    gaps = [*account.gaps(described), *balancers, lifecycles.answer, templates.answer]
    calls.server("", 443, gaps, context).serve_forever()


main()
