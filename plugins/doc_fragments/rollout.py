# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  rollout_id:
    description:
      - The rollout for which this is done, as M(evenkeel.fleet.rollout_lock) returned it.
      - Its lock is renewed in the same transaction; if it is lost, nothing is changed.
    type: int
  ttl:
    description:
      - Seconds for which the lock is renewed. If it is not renewed before, another rollout may take it over.
      - It has to be longer than the longest time between two calls for the rollout.
    type: float
    default: 120
  steps:
    description:
      - Steps since the last call, written to the journal in the same transaction.
      - Of the names, C(plan) with the digest that a host ran when the rollout began, and C(swap) with the one that it
        runs since, say what a rollback goes back to. C(permit) and C(active) are written by
        M(evenkeel.fleet.instance_drain) alone.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: The host, by its name in the inventory; V(*) for what concerns the whole fleet.
        type: str
        required: true
      step:
        description: What was done.
        type: str
        required: true
      result:
        description: How it ended.
        type: str
        required: true
        choices: [started, succeeded, failed, skipped]
      instance_id:
        description: The host's instance id.
        type: str
      digest:
        description: The image's digest.
        type: str
      seconds:
        description: How long it took.
        type: float
      ago:
        description: How many seconds ago it ended.
        type: float
        default: 0
      detail:
        description: Further details, such as the last lines of a log. What looks like a secret is hidden.
        type: str
"""
