#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_task_definition
short_description: Register a revision of an Amazon ECS task definition when it differs from the running one
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Compares a declared task definition with the one that a service runs, field by field and with AWS's defaults, and
    registers a new revision only where they differ. Without a service it compares with the newest ACTIVE revision.
  - Where the newest ACTIVE revision is as declared already, it is returned and none is registered. So a run that was
    interrupted between registering and deploying can be repeated.
  - Images of Amazon ECR are pinned to the digests that their tags have now.
  - C(community.aws.ecs_taskdefinition) does not notice a changed variable, secret, port, command, size or role, and
    then returns an older revision.
attributes:
  check_mode:
    description: Asks AWS and registers nothing; predicts the same differences.
    support: full
  diff_mode:
    description: Shows both definitions with AWS's defaults. Secret values are hidden, and marked where they change.
    support: full
options:
  state:
    description:
      - V(present) registers a revision where needed.
      - V(absent) deregisters all ACTIVE revisions of the family; refused while a service or a task uses one.
    type: str
    choices: [present, absent]
    default: present
  definition:
    description:
      - The task definition with the names and shapes of C(RegisterTaskDefinition), such as C(family),
        C(containerDefinitions), C(cpu) and C(executionRoleArn). Needed with O(state=present).
      - Fields that only answers have, such as C(revision), are ignored. An environment variable whose value is null is
        left out.
      - The arguments of this module are not written to the system's log.
    type: dict
  family:
    description: The family, needed with O(state=absent); else it is that of O(definition).
    type: str
  images:
    description: Image references by container, instead of those in O(definition).
    type: dict
    default: {}
  pin:
    description:
      - V(digest) replaces the tag of each image in Amazon ECR by the digest that the tag has now. So a moved tag is a
        difference, and all tasks of a revision run the same image. An image of another registry keeps its tag, with a
        warning.
      - V(tag) leaves the references as they are.
    type: str
    choices: [digest, tag]
    default: digest
  cluster:
    description: Name or ARN of the cluster of O(service).
    type: str
  service:
    description: The service that runs the task definition. One that does not exist yet counts as no service.
    type: str
  keep:
    description:
      - Number of ACTIVE revisions to keep, with the newest. Older ones are deregistered, except those that a service's
        deployment or a running task uses. Without it, none is deregistered.
      - Where AWS does not answer which ones are in use, none is deregistered, with a warning.
      - Schedules that name a revision are not asked. Let these name the family.
    type: int
  clusters:
    description: Clusters in which revisions may be in use. By default, all of the account in this region.
    type: list
    elements: str
    default: []
  tags:
    description:
      - Tags of the revision, instead of C(tags) in O(definition). Without both, tags are left alone.
      - Where only tags differ, they are changed in place, and no revision is registered.
      - A tag that is no longer here is removed if its value is still the one that this module set. Tags of others stay.
      - The tag C(evenkeel:tags) records what was set.
    type: dict
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(DescribeTaskDefinition), C(RegisterTaskDefinition),
    C(iam:PassRole) for both roles of the task, with O(pin=digest) C(ecr:DescribeImages), with tags C(ecs:TagResource),
    C(UntagResource) and C(ListTagsForResource), and with O(keep) or O(state=absent) C(ecs:ListTaskDefinitions),
    C(DeregisterTaskDefinition), C(ListClusters), C(ListServices), C(ListTasks) and C(DescribeTasks).
seealso:
  - module: evenkeel.fleet.scalable_target
  - module: evenkeel.fleet.log_group
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Register a revision if anything differs from what the service runs
  evenkeel.fleet.ecs_task_definition:
    cluster: production
    service: permissions
    images:
      api: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/permissions:1.4.0"
    keep: 10
    definition:
      family: permissions
      requiresCompatibilities: [FARGATE]
      networkMode: awsvpc
      cpu: 512
      memory: 1024
      executionRoleArn: arn:aws:iam::123456789012:role/permissions-execution
      taskRoleArn: arn:aws:iam::123456789012:role/permissions-task
      containerDefinitions:
        - name: api
          portMappings: [{containerPort: 8080}]
          environment: [{name: LOG_LEVEL, value: INFO}]
          secrets:
            - name: DATABASE_URL
              valueFrom: arn:aws:secretsmanager:eu-central-1:123456789012:secret:permissions/database-AbCdEf
          healthCheck: {command: [CMD-SHELL, "curl -fs localhost:8080/healthz"]}
          logConfiguration:
            logDriver: awslogs
            options: {awslogs-group: /ecs/permissions, awslogs-region: eu-central-1, awslogs-stream-prefix: ecs}
    region: eu-central-1
  register: revision

- name: Deregister a family that nothing uses
  evenkeel.fleet.ecs_task_definition:
    family: permissions-old
    state: absent
"""

RETURN = r"""
task_definition:
  description: ARN of the revision that is as declared; empty in check mode where it would be registered.
  returned: success
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:8
revision:
  description: Its number; 0 in check mode where it would be registered.
  returned: success
  type: int
  sample: 8
family:
  description: Its family.
  returned: success
  type: str
  sample: permissions
registered:
  description: Whether a revision was registered, or would be in check mode.
  returned: success
  type: bool
compared_with:
  description: ARN of the revision that the declaration was compared with; empty where there was none.
  returned: success
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:7
differences:
  description: What distinguishes the declaration from that revision. Secret values are hidden.
  returned: success
  type: list
  elements: str
  sample: ["container api: environment LOG_LEVEL: INFO → DEBUG"]
images:
  description: The image of each container, pinned where that was asked for.
  returned: success
  type: dict
deregistered:
  description: ARNs of the revisions that were deregistered, or would be in check mode.
  returned: success
  type: list
  elements: str
in_use:
  description: Old revisions that stay because something uses them, by ARN, and what that is.
  returned: success
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.images import (
    PinnedImages,
    Reference,
    digest_in_ecr,
    images_of,
    pinned,
    with_images,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.limits import problems, shape_problems
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.revisions import Outcome, Wanted, ensure, remove
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.task_definition import secret_values, shown_pair

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "definition": {"type": "dict"},
    "family": {"type": "str"},
    "images": {"type": "dict", "default": {}},
    "pin": {"type": "str", "choices": ["digest", "tag"], "default": "digest"},
    "cluster": {"type": "str"},
    "service": {"type": "str"},
    "keep": {"type": "int"},
    "clusters": {"type": "list", "elements": "str", "default": []},
    "tags": {"type": "dict"},
    **client.ARGUMENTS,
}
# Shorter ones are parts of other words, which would be hidden with them.
SHORTEST_HIDDEN = 8


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec=ARGUMENTS,
        # The definition's environment may have secrets, which must not be logged.
        no_log=True,
        required_if=[("state", "present", ["definition"]), ("state", "absent", ["family"])],
        required_together=[*client.REQUIRED_TOGETHER, ("cluster", "service")],
        mutually_exclusive=client.MUTUALLY_EXCLUSIVE,
        supports_check_mode=True,
    )
    definition: dict[str, Any] = module.params["definition"] or {}
    images = PinnedImages()
    try:
        hide_secrets(module, definition)
        if module.params["state"] == "absent":
            family = module.params["family"]
            outcome = remove(Api(client.client(module, "ecs")), family, module.params["clusters"], module.check_mode)
        else:
            family = str(definition.get("family", ""))
            definition, images = prepare(module, definition)
            outcome = ensure(Api(client.client(module, "ecs")), wanted(module.params, definition), module.check_mode)
    except OperationError as error:
        module.fail_json(msg=str(error))
    for warning in (*images.warnings, *outcome.warnings):
        module.warn(warning)
    module.exit_json(family=family, images=images.images, **result(outcome))


def refuse(found: list[str]) -> None:
    if found:
        raise OperationError(f"Nothing was registered: {'; '.join(words.rstrip('.') for words in found)}.")


def hide_secrets(module: AnsibleModule, definition: Mapping[str, Any]) -> None:
    """The arguments, which Ansible shows with -vvv, keep no secrets. Refuses a definition of another shape."""
    module.params["definition"] = {}
    refuse(shape_problems(definition))
    module.no_log_values.update(value for value in secret_values(definition) if len(value) >= SHORTEST_HIDDEN)
    module.params["definition"] = shown_pair({}, definition)[1]


def prepare(module: AnsibleModule, definition: Mapping[str, Any]) -> tuple[dict[str, Any], PinnedImages]:
    """The definition with its images; OperationError names everything that AWS would refuse."""
    images = images_of(definition, module.params["images"])
    found = problems(with_images(definition, images))
    if module.params["keep"] is not None and module.params["keep"] < 1:
        found.append("keep is below 1, and the newest revision always stays: set 1 or more.")
    if module.params["tags"] is not None and definition.get("tags"):
        found.append("tags are declared twice, as an option and in definition: remove one.")
    refuse(found)
    if module.params["pin"] == "tag":
        return with_images(definition, images), PinnedImages(images)

    def digest_of(reference: Reference) -> str:
        return digest_in_ecr(Api(client.client(module, "ecr", reference.region)), reference)

    result = pinned(images, digest_of)
    return with_images(definition, result.images), result


def wanted(options: Mapping[str, Any], definition: Mapping[str, Any]) -> Wanted:
    tags = options["tags"]
    if tags is None and definition.get("tags") is not None:
        tags = {tag.get("key", ""): tag.get("value", "") for tag in definition["tags"]}
    return Wanted(
        definition={key: value for key, value in definition.items() if key != "tags"},
        tags=None if tags is None else texts(tags),
        cluster=options["cluster"] or "",
        service=options["service"] or "",
        keep=options["keep"],
        clusters=options["clusters"],
    )


def result(outcome: Outcome) -> dict[str, Any]:
    return {
        "changed": outcome.changed,
        "task_definition": outcome.arn,
        "revision": outcome.revision,
        "registered": outcome.registered,
        "compared_with": outcome.compared,
        "differences": [difference.words for difference in outcome.differences],
        "deregistered": outcome.deregistered,
        "in_use": outcome.in_use,
        "diff": {"before": outcome.before, "after": outcome.after},
    }


if __name__ == "__main__":
    main()
