# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Auto Scaling group: its instances and their launch templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from .._common.progress import OperationError
from .api import Api, RefusedError

ARGUMENT: dict[str, Any] = {
    "type": "dict",
    "options": {
        "id": {"type": "str"},
        "name": {"type": "str"},
        "version": {"type": "str", "default": "$Default"},
    },
    "required_one_of": [("id", "name")],
    "mutually_exclusive": [("id", "name")],
}


class NoTemplateError(OperationError):
    """There is no such launch template, or not in this version."""


LEAVING = ("Terminating", "Terminated", "Detaching", "Detached")


@dataclass(frozen=True)
class Template:
    """A launch template in one version: a number, or $Latest or $Default, whose meaning changes."""

    id: str
    name: str
    version: str

    @classmethod
    def of(cls, said: Mapping[str, str] | None) -> Template | None:
        """As the API returns it, by id, by name or by both."""
        if not said:
            return None
        return cls(
            said.get("LaunchTemplateId", ""), said.get("LaunchTemplateName", ""), said.get("Version", "$Default")
        )

    @property
    def fixed(self) -> bool:
        return self.version.isdecimal()

    @property
    def words(self) -> str:
        return f"{self.name or self.id}, version {self.version}"

    def same(self, other: Template | None) -> bool:
        """Whether both are certainly the same."""
        if other is None or not (self.fixed and self.version == other.version):
            return False
        return self.id == other.id if self.id and other.id else bool(self.name) and self.name == other.name

    def result(self) -> dict[str, str]:
        return {"id": self.id, "name": self.name, "version": self.version}


@dataclass(frozen=True)
class Instance:
    """A member of the group; state is its lifecycle's."""

    id: str
    state: str
    health: str
    protected: bool
    template: Template | None

    @property
    def in_standby(self) -> bool:
        return self.state.endswith("Standby")


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group. template is that of new instances; mixed is its mixed instances policy, if it has one."""

    name: str
    template: Template | None
    mixed: Mapping[str, Any] | None
    instances: tuple[Instance, ...]


def group(api: Api, name: str) -> Group:
    said = api.call("DescribeAutoScalingGroups", f"the group {name}", AutoScalingGroupNames=[name])
    found = said["AutoScalingGroups"]
    if not found:
        raise OperationError(
            f"There is no Auto Scaling group {name} in {api.region}: check its name, the region and the account."
        )
    mixed = found[0].get("MixedInstancesPolicy")
    own = (
        mixed.get("LaunchTemplate", {}).get("LaunchTemplateSpecification") if mixed else found[0].get("LaunchTemplate")
    )
    return Group(
        name=name,
        template=Template.of(own),
        mixed=mixed,
        instances=tuple(
            Instance(
                id=item["InstanceId"],
                state=item["LifecycleState"],
                health=item["HealthStatus"],
                protected=item["ProtectedFromScaleIn"],
                template=Template.of(item.get("LaunchTemplate")),
            )
            for item in found[0]["Instances"]
            if not item["LifecycleState"].startswith(LEAVING)
        ),
    )


def resolved(api: Api, template: Template) -> Template:
    """The template by id, name and number, as it is now."""
    chosen = {"LaunchTemplateId": template.id} if template.id else {"LaunchTemplateName": template.name}
    what = f"the launch template {template.words}"
    try:
        said = api.call("DescribeLaunchTemplateVersions", what, Versions=[template.version], **chosen)
        found = said["LaunchTemplateVersions"]
    except RefusedError as error:
        if "InvalidLaunchTemplate" not in error.code:
            raise
        found = []
    if not found:
        raise NoTemplateError(
            f"There is no launch template {template.words} in {api.region}: check its id or name, its version, the "
            "region and the account."
        )
    return Template(found[0]["LaunchTemplateId"], found[0]["LaunchTemplateName"], str(found[0]["VersionNumber"]))


def wanted(
    group: Group, option: Mapping[str, str] | None, ec2: Callable[[], Api]
) -> tuple[Template | None, Template | None]:
    """The requested template, if any, and the one for the instances."""
    if option:
        asked = resolved(ec2(), Template(option["id"] or "", option["name"] or "", option["version"]))
        return asked, asked
    own = group.template
    return None, own if own is None or own.fixed else resolved(ec2(), own)


def matches(instance: Instance, target: Template | None) -> bool:
    return target is not None and target.same(instance.template)


def described(instance: Instance, target: Template | None) -> dict[str, Any]:
    return {
        "instance_id": instance.id,
        "state": instance.state,
        "health": instance.health,
        "protected": instance.protected,
        "launch_template": instance.template.result() if instance.template else None,
        "matches": matches(instance, target),
    }
