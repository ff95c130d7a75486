#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_secrets
short_description: Move secrets out of the environment of task definitions that run on Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Finds secrets that stand as plain text in the environment of the containers that services run, by their names and
    values. Stores each as a SecureString parameter of SSM or as a secret of Secrets Manager, lets the execution role
    read just these, and registers a revision that refers to them.
  - Nothing is deployed, and no value is returned, shown or logged. A parameter or secret that exists is not
    overwritten.
  - A call that was interrupted is repeated, and goes on.
attributes:
  check_mode:
    description: Asks AWS and changes nothing; refuses what would be refused.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  services:
    description: Names of the services; empty for all of the cluster.
    type: list
    elements: str
    default: []
  store:
    description: V(ssm) for parameters, V(secretsmanager) for secrets.
    type: str
    choices: [ssm, secretsmanager]
    default: ssm
  path:
    description: What the names begin with. A name is C(PATH/SERVICE/VARIABLE).
    type: str
    required: true
  move:
    description: Variables that are secrets, though they do not look like it.
    type: list
    elements: str
    default: []
  keep:
    description: Variables that are no secrets, though they look like it.
    type: list
    elements: str
    default: []
  kms_key:
    description: ARN of the KMS key to encrypt them with; by default the key that AWS manages.
    type: str
    default: ""
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(sts:GetCallerIdentity), C(ecs:ListServices), C(ecs:DescribeServices),
    C(ecs:DescribeTaskDefinition), C(ecs:RegisterTaskDefinition), C(iam:PassRole), C(iam:GetRolePolicy),
    C(iam:PutRolePolicy), and C(ssm:GetParameter) and C(ssm:PutParameter), or C(secretsmanager:GetSecretValue),
    C(DescribeSecret) and C(CreateSecret).
seealso:
  - module: evenkeel.fleet.ecs_deploy
"""

EXAMPLES = r"""
- name: Move the secrets of all services
  evenkeel.fleet.ecs_secrets:
    cluster: production
    path: /shop/production
    region: eu-central-1
  register: moved
"""

RETURN = r"""
secrets:
  description: The secrets, each with C(service), C(container), C(variable) and C(value_from), the ARN of its store.
  returned: always
  type: list
  elements: dict
task_definitions:
  description: By service, the ARN of the revision that refers to them; empty in check mode for a new one.
  returned: always
  type: dict
progress:
  description: What was done, each with the seconds since the start.
  returned: always
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import internal
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.definition_lookup import described_definition
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.plaintext_secrets import (
    SecretsReport,
    SecretsWish,
    move,
    plaintext,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "services": {"type": "list", "elements": "str", "default": []},
    "store": {"type": "str", "choices": ["ssm", "secretsmanager"], "default": "ssm"},
    "path": {"type": "str", "required": True},
    "move": {"type": "list", "elements": "str", "default": []},
    "keep": {"type": "list", "elements": "str", "default": []},
    # The name of a key, and no secret.
    "kms_key": {"type": "str", "default": "", "no_log": False},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = SecretsReport(say=module.log)
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: SecretsReport) -> None:
    wanted = module.params
    sessions: dict[str, Any] = {}
    kept: dict[str, Api] = {}

    def clients(name: str) -> Api:
        if name not in kept:
            kept[name] = Api(aws.client(module, name, "", sessions))
        return kept[name]

    ecs = clients("ecs")
    wish = SecretsWish(
        account=str(clients("sts").call("GetCallerIdentity", "the credentials")["Account"]),
        region=ecs.region,
        path="/" + wanted["path"].strip("/") if wanted["store"] == "ssm" else wanted["path"].strip("/"),
        moved=wanted["move"],
        kept=wanted["keep"],
        **{key: wanted[key] for key in ("cluster", "store", "kms_key")},
    )
    definitions = _running(ecs, wanted["cluster"], wanted["services"])
    # They must not stand in an error of AWS or of a library either.
    for name, definition in definitions.items():
        module.no_log_values.update(one.value for one in plaintext(name, definition, wish))
    move(definitions, wish, clients, report, module.check_mode)


def _running(ecs: Api, cluster: str, names: list[str]) -> dict[str, Mapping[str, Any]]:
    """By service, the task definition that it runs."""
    about = f"the services of the cluster {cluster}"
    arns = [] if names else list(ecs.pages("ListServices", about, "serviceArns", cluster=cluster))
    wanted = names or [str(arn).rpartition("/")[2] for arn in arns]
    found = internal.services(ecs, cluster, wanted)
    missing = [name for name in names if name not in found]
    if missing:
        raise OperationError(
            f"Nothing was changed: the cluster {cluster} has no active service {', '.join(missing)}. Correct the name."
        )
    return {name: described_definition(ecs, one["taskDefinition"]) for name, one in found.items()}


if __name__ == "__main__":
    main()
