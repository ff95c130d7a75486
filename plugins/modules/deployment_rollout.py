#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_rollout
short_description: Bring an image to a Deployment of Kubernetes, and follow the rollout to its end
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Sets the image of one container of a Deployment, or joins the rollout that already brings it, so that an interrupted
    call can be repeated.
  - Follows the controller's counts and the pods of the new template. Fails as soon as one of them can't start, with the
    reason and the last log lines. It waits neither for the timeout nor, where a pod has a reason, for the progress
    deadline.
  - Goes back to the last template whose rollout was complete. The rollout notes it at the Deployment, so that a later
    call knows it also after a crash of the controller.
  - Notes at the Deployment the time, the user, the id and the reason of the rollout.
  - Where the Deployment has the image already and its rollout is complete, nothing is called that writes.
attributes:
  check_mode:
    description: Asks the API server by a dry run, which refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows annotations and template before and after, as the API server has them.
    support: full
options:
  state:
    description:
      - V(updated) brings O(image).
      - V(rolled_back) goes back to the last good template, or to O(revision). It finishes a rollback that was
        interrupted.
    type: str
    choices: [updated, rolled_back]
    default: updated
  namespace:
    description: The namespace of the Deployment.
    type: str
    default: default
  name:
    description: The name of the Deployment. It must exist.
    type: str
    required: true
  container:
    description:
      - The container whose image changes. The default is the only one, or of several the one that is named like the
        Deployment.
    type: str
    default: ""
  image:
    description:
      - The image, with its digest, such as C(registry.example.com/gateway@sha256:…). Required by O(state=updated).
      - An image without a digest is refused unless O(allow_tag=true).
    type: str
  allow_tag:
    description: Accept an image without a digest. Then pods of one template may run different images.
    type: bool
    default: false
  revision:
    description: With O(state=rolled_back), the number of a revision, its pod-template-hash, or its image.
    type: str
    default: ""
  wait_for:
    description:
      - V(complete) waits until all pods are of the new template and available.
      - V(first_pod) waits until one of them is ready.
      - V(started) does not wait. A failed rollout is then not noticed.
    type: str
    choices: [complete, first_pod, started]
    default: complete
  fail_after:
    description:
      - Seconds for which a reason such as C(ImagePullBackOff) or C(CrashLoopBackOff) may last before the rollout fails.
      - A container counts as crashing after two restarts, or in C(CrashLoopBackOff).
    type: float
    default: 5
  schedule_within:
    description:
      - Seconds for which a pod may be without a node (C(FailedScheduling)), or may not be created at all, such as for a
        quota. An autoscaler of nodes needs some minutes.
    type: float
    default: 120
  on_failure:
    description:
      - V(rollback) goes back to the last good template, and waits for it.
      - V(leave) leaves the Deployment as it is then.
    type: str
    choices: [rollback, leave]
    default: rollback
  watch:
    description:
      - Seconds for which the new pods are watched after the rollout. One that restarts in this time fails it.
    type: float
    default: 0
  reason:
    description: The reason, for the annotations. C(kubectl rollout history) shows it.
    type: str
    default: rollout
  rollout_id:
    description: The id of the rollout in the journal, for the annotations.
    type: str
    default: ""
  user:
    description: Who changes it, as C(user@host). The default is the user and host of this machine.
    type: str
  annotation_prefix:
    description: The prefix of the annotations.
    type: str
    default: evenkeel.fleet
  log_lines:
    description: How many of the last log lines of a failed container are shown. V(0) shows none.
    type: int
    default: 20
  wait_timeout:
    description: Seconds to wait for the end of the rollout, and again for the end of a rollback.
    type: float
    default: 900
extends_documentation_fragment:
  - evenkeel.fleet.kubernetes
notes:
  - The permissions needed in the namespace are C(get) and C(patch) on C(deployments), C(list) on C(replicasets),
    C(pods) and C(events), and C(get) on C(pods/log).
  - C(replicas) is never sent, so that it stays with the HorizontalPodAutoscaler.
seealso:
  - module: evenkeel.fleet.deployment_rollout_info
"""

EXAMPLES = r"""
- name: Bring an image, and go back if it fails
  evenkeel.fleet.deployment_rollout:
    namespace: gateway
    name: gateway-blue
    image: registry.example.com/gateway@sha256:6d1ef2a00dd4d7a1b5a9c2c8a1f3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5
    reason: gateway 1.4.0
  delegate_to: localhost

- name: Go back to the last good template
  evenkeel.fleet.deployment_rollout:
    namespace: gateway
    name: gateway-blue
    state: rolled_back
  delegate_to: localhost
"""

RETURN = r"""
outcome:
  description:
    - V(succeeded), V(unchanged), V(failed), V(rolled_back) or V(superseded), which means that another writer has
      brought a third image.
    - Empty in check mode, and with O(wait_for=started).
  returned: always
  type: str
  sample: succeeded
joined:
  description: Whether a rollout of the image ran already.
  returned: always
  type: bool
before:
  description: The image before.
  returned: always
  type: str
rolled_back_to:
  description: The image that runs again, or empty.
  returned: always
  type: str
deployment:
  description: The Deployment as it was last seen, as M(evenkeel.fleet.deployment_rollout_info) returns it.
  returned: always
  type: dict
failures:
  description: Why pods failed, each with the last log lines of its container.
  returned: always
  type: list
  elements: dict
  sample:
    - pod: gateway-blue-7c9d8f6b5-x2x7k
      container: gateway
      reason: CrashLoopBackOff
      message: Error, 3 restarts
      exit_code: 1
      log: ["JWT_SECRET is not set"]
progress:
  description: What was seen while waiting, each line with the seconds since the start.
  returned: always
  type: list
  elements: str
  sample: ["0.3 s: 1 of 3 pods updated, 3 available, 3 old ones are left"]
seconds:
  description: How long the call took.
  returned: always
  type: float
"""

import re
from collections.abc import Callable
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import holder_of
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.deployment import Annotations
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.readings import Reader
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.rollout import (
    DeploymentRollout,
    RolloutReport,
    RolloutWish,
)

DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "state": {"type": "str", "choices": ["updated", "rolled_back"], "default": "updated"},
            "namespace": {"type": "str", "default": "default"},
            "name": {"type": "str", "required": True},
            "container": {"type": "str", "default": ""},
            "image": {"type": "str"},
            "allow_tag": {"type": "bool", "default": False},
            "revision": {"type": "str", "default": ""},
            "wait_for": {"type": "str", "choices": ["complete", "first_pod", "started"], "default": "complete"},
            "fail_after": {"type": "float", "default": 5},
            "schedule_within": {"type": "float", "default": 120},
            "on_failure": {"type": "str", "choices": ["rollback", "leave"], "default": "rollback"},
            "watch": {"type": "float", "default": 0},
            "reason": {"type": "str", "default": "rollout"},
            "rollout_id": {"type": "str", "default": ""},
            "user": {"type": "str"},
            "annotation_prefix": {"type": "str", "default": "evenkeel.fleet"},
            "log_lines": {"type": "int", "default": 20},
            "wait_timeout": {"type": "float", "default": 900},
            **client.ARGUMENTS,
        },
        required_if=[("state", "updated", ["image"])],
        supports_check_mode=True,
    )
    report = RolloutReport(say=module.log, timeout=module.params["wait_timeout"])
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: RolloutReport) -> None:
    wanted = module.params
    if wanted["state"] == "updated" and not wanted["allow_tag"] and not DIGEST.fullmatch(wanted["image"]):
        raise OperationError(
            f"Nothing was changed: image is {wanted['image']}, which has no digest. Append @sha256:…, as docker push "
            "prints it, or set allow_tag."
        )
    wish = RolloutWish(
        annotations=Annotations(wanted["annotation_prefix"]),
        user=wanted["user"] or holder_of({"holder": None}),
        clock=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"),
        image=wanted["image"] or "",
        revision=wanted["revision"],
        reason=wanted["reason"],
        rollout_id=wanted["rollout_id"],
        until=wanted["wait_for"],
        fail_after=wanted["fail_after"],
        schedule_within=wanted["schedule_within"],
        roll_back=wanted["on_failure"] == "rollback",
        watch=wanted["watch"],
        log_lines=wanted["log_lines"],
    )
    reader = Reader(client.api(module), wanted["namespace"], wanted["name"], wanted["container"])
    rollout = DeploymentRollout(reader, wish, report)
    step = rollout.update if wanted["state"] == "updated" else rollout.roll_back
    step(check_mode=module.check_mode)


if __name__ == "__main__":
    main()
