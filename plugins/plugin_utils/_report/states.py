# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What steps and events are to the state of a host or service."""

from __future__ import annotations

from .records import DONE, FAILED, KEPT_OUT, PUT_OFF, REFUSED, ROLLED_BACK, UNREACHABLE

OF_THE_FLEET = ("lock", "handover", "unlock")
OPENS = {"lock": "plan", "unlock": "end"}
DOING = {
    "pull": "pulling",
    "permit": "asking",
    "drain": "draining",
    "swap": "swapping",
    "put_back": "rolling back",
    "admit": "admitting",
    "active": "admitting",
    "bake": "baking",
    "register": "registering",
    "migrate": "migrating",
    "service": "changing",
    "scale": "scaling",
    "deploy": "deploying",
    "probe": "probing",
}
PLANS_DEPLOYMENT = "ecs_services_info"
A_MOMENT = 0.3
EVENTS = {
    "done": DONE,
    "failed": FAILED,
    "unreachable": UNREACHABLE,
    "refused": REFUSED,
    "put_off": PUT_OFF,
    "kept_out": KEPT_OUT,
    "put_back": ROLLED_BACK,
    "not_put_back": FAILED,
}
