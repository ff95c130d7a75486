#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_cluster
short_description: Manage a cluster of Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates a cluster, changes its settings and tags where they differ, or deletes it.
  - C(community.aws.ecs_cluster) has neither settings nor tags.
attributes:
  check_mode:
    description: Looks up the cluster and changes nothing; refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the declared settings and tags before and after.
    support: full
options:
  state:
    description:
      - V(present) creates or changes it.
      - V(absent) deletes it. A cluster with services or tasks is refused.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name of the cluster.
    type: str
    required: true
  container_insights:
    description:
      - CloudWatch Container Insights, which sends metrics of tasks and services, at a price.
      - Without it, the setting is left alone. AWS uses the default of the account for a new cluster.
    type: str
    choices: [disabled, enabled, enhanced]
  tags:
    description:
      - Tags of the cluster. A tag that this module set and that is no longer declared is removed; tags of others stay.
      - Without it, all tags stay as they are.
    type: dict
notes:
  - The IAM actions needed are C(ecs:DescribeClusters), C(CreateCluster), C(UpdateClusterSettings), with O(tags)
    C(TagResource) and C(UntagResource), and to delete it C(DeleteCluster).
seealso:
  - module: evenkeel.fleet.ecs_service
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Create the cluster
  evenkeel.fleet.ecs_cluster:
    name: production
    container_insights: enabled
    tags: {team: platform}
    region: eu-central-1
  delegate_to: localhost
"""

RETURN = r"""
cluster_arn:
  description: Its ARN; empty where there is none, and in check mode where there is none yet.
  returned: success
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:cluster/production
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.cluster import (
    CONTAINER_INSIGHTS,
    ClusterReport,
    DeclaredCluster,
    ensure_cluster,
    remove_cluster,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "container_insights": {"type": "str", "choices": ["disabled", "enabled", "enhanced"]},
    "tags": {"type": "dict"},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
    try:
        report = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=report.changed,
        cluster_arn=report.arn,
        diff={"before": report.before, "after": report.after},
    )


def act(module: AnsibleModule) -> ClusterReport:
    options = module.params
    ecs = Api(client.client(module, "ecs"))
    if options["state"] == "absent":
        return remove_cluster(ecs, options["name"], module.check_mode)
    insights = options["container_insights"]
    wanted = DeclaredCluster(
        name=options["name"],
        settings={CONTAINER_INSIGHTS: insights} if insights else {},
        tags=None if options["tags"] is None else texts(options["tags"]),
    )
    return ensure_cluster(ecs, wanted, module.check_mode)


if __name__ == "__main__":
    main()
