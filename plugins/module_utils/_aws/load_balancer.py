# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared Application Load Balancer and its two listeners."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError
from .pairs import as_dict, as_pairs, declared
from .tags import change_tags, ours_of, recorded

Listener = Mapping[str, Any]
HTTP, HTTPS = 80, 443
TO_HTTPS = {
    "Type": "redirect",
    "RedirectConfig": {
        "Protocol": "HTTPS",
        "Port": "443",
        "Host": "#{host}",
        "Path": "/#{path}",
        "Query": "#{query}",
        "StatusCode": "HTTP_301",
    },
}
PAUSE = 5.0


@dataclass(frozen=True)
class Wanted:
    """attributes have AWS's own names and texts for values; no certificate means HTTP alone; timeout in seconds."""

    name: str
    scheme: str
    subnets: Sequence[str]
    security_groups: Sequence[str]
    target_group_arn: str
    keep_forward: bool
    certificate_arn: str
    ssl_policy: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str] | None
    timeout: float


@dataclass
class Outcome:
    """Empty texts where there is no load balancer; before and after are its declared settings."""

    arn: str = ""
    dns_name: str = ""
    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def ensure(elb: Api, wanted: Wanted, check_mode: bool) -> Outcome:
    """Create the load balancer or change what differs. The next call completes an interrupted one."""
    about = f"the load balancer {wanted.name}"
    found = find(elb, wanted.name)
    arn = found.get("LoadBalancerArn", "")
    listeners = _listeners(elb, arn, about)
    will = _declared_listeners(wanted, listeners)
    outcome = Outcome(arn, found.get("DNSName", ""))
    outcome.before = _look(elb, wanted, found, listeners, about)
    outcome.after = {
        "scheme": wanted.scheme,
        "subnets": sorted(wanted.subnets),
        "security_groups": sorted(wanted.security_groups),
        "attributes": dict(wanted.attributes),
        **({} if wanted.tags is None else {"tags": recorded(wanted.tags)}),
        "listeners": {port: _picture(listener) for port, listener in will.items()},
    }
    if found and found["Scheme"] != wanted.scheme:
        raise OperationError(
            f"The load balancer {wanted.name} is {found['Scheme']} and AWS can't make it {wanted.scheme}. Create "
            "one with another name."
        )
    outcome.changed = outcome.before != outcome.after
    if check_mode:
        return outcome
    if not found:
        made = elb.call(
            "CreateLoadBalancer",
            about,
            Name=wanted.name,
            Type="application",
            Scheme=wanted.scheme,
            Subnets=list(wanted.subnets),
            SecurityGroups=list(wanted.security_groups),
        )["LoadBalancers"][0]
        arn, outcome.arn, outcome.dns_name = made["LoadBalancerArn"], made["LoadBalancerArn"], made["DNSName"]
    _change_settings(elb, wanted, outcome, about)
    _change_listeners(elb, arn, listeners, will, about)
    _until_active(elb, wanted)
    return outcome


def remove(elb: Api, name: str, check_mode: bool) -> Outcome:
    """Delete the load balancer with its listeners; refused while others have listeners or rules there."""
    found = find(elb, name)
    if not found:
        return Outcome()
    foreign = _foreign(elb, found["LoadBalancerArn"], f"the load balancer {name}")
    if foreign:
        raise OperationError(f"The load balancer {name} was not deleted: {' '.join(foreign)}")
    if not check_mode:
        elb.call("DeleteLoadBalancer", f"the load balancer {name}", LoadBalancerArn=found["LoadBalancerArn"])
    return Outcome(found["LoadBalancerArn"], found["DNSName"], True, before={"name": name})


def _foreign(elb: Api, arn: str, about: str) -> list[str]:
    """What prevents the deletion of the load balancer."""
    found = []
    attributes = as_dict(elb.call("DescribeLoadBalancerAttributes", about, LoadBalancerArn=arn)["Attributes"])
    if attributes.get("deletion_protection.enabled") == "true":
        found.append("Its deletion protection is on; turn it off with the attribute deletion_protection.enabled.")
    listeners = elb.call("DescribeListeners", about, LoadBalancerArn=arn)["Listeners"]
    others = sorted(listener["Port"] for listener in listeners if listener["Port"] not in (HTTP, HTTPS))
    if others:
        found.append(f"It has listeners of others, on port {', '.join(map(str, others))}; delete these first.")
    for listener in listeners:
        if listener["Port"] in (HTTP, HTTPS):
            rules = elb.call("DescribeRules", about, ListenerArn=listener["ListenerArn"])["Rules"]
            own = [rule["RuleArn"] for rule in rules if not rule["IsDefault"]]
            if own:
                found.append(
                    f"Its listener on port {listener['Port']} has rules of others; delete {', '.join(own)} first."
                )
    return found


def find(elb: Api, name: str) -> dict[str, Any]:
    """The load balancer of this name, as the API describes it; empty where there is none."""
    try:
        listed = elb.call("DescribeLoadBalancers", f"the load balancer {name}", Names=[name])["LoadBalancers"]
    except RefusedError as error:
        if error.code.startswith("LoadBalancerNotFound"):
            return {}
        raise
    found: dict[str, Any] = listed[0]
    if found["Type"] != "application":
        raise OperationError(f"The load balancer {name} is of the type {found['Type']}, not application.")
    return found


def _listeners(elb: Api, arn: str, about: str) -> dict[int, Listener]:
    """By port; without the ones on ports that are not ours."""
    listed = elb.call("DescribeListeners", about, LoadBalancerArn=arn)["Listeners"] if arn else []
    return {listener["Port"]: listener for listener in listed if listener["Port"] in (HTTP, HTTPS)}


def _declared_listeners(wanted: Wanted, there: Mapping[int, Listener]) -> dict[int, Listener]:
    forwards = [action for listener in there.values() for action in listener["DefaultActions"] if _groups(action)]
    own = {
        "Type": "forward",
        "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": wanted.target_group_arn, "Weight": 1}]},
    }
    forward = forwards[0] if forwards and wanted.keep_forward else own
    if not wanted.certificate_arn:
        return {HTTP: {"Protocol": "HTTP", "DefaultActions": [forward]}}
    return {
        HTTP: {"Protocol": "HTTP", "DefaultActions": [TO_HTTPS]},
        HTTPS: {
            "Protocol": "HTTPS",
            "SslPolicy": wanted.ssl_policy,
            "Certificates": [{"CertificateArn": wanted.certificate_arn}],
            "DefaultActions": [forward],
        },
    }


def _groups(action: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of an action that forwards, its target groups with their weights; AWS has two notations for a single group."""
    if action.get("Type") != "forward":
        return []
    lone = [{"TargetGroupArn": action["TargetGroupArn"]}] if action.get("TargetGroupArn") else []
    groups = action.get("ForwardConfig", {}).get("TargetGroups") or lone
    weighed = [{"TargetGroupArn": group["TargetGroupArn"], "Weight": group.get("Weight", 1)} for group in groups]
    return sorted(weighed, key=lambda group: str(group["TargetGroupArn"]))


def _picture(listener: Listener) -> dict[str, Any]:
    """The settings of a listener that are compared."""
    actions = [
        _groups(action) or action.get("RedirectConfig") or action["Type"] for action in listener["DefaultActions"]
    ]
    picture = {"protocol": listener["Protocol"], "actions": actions}
    if listener["Protocol"] == "HTTPS":
        picture["certificates"] = [pair["CertificateArn"] for pair in listener["Certificates"]]
        picture["ssl_policy"] = listener["SslPolicy"]
    return picture


def _look(
    elb: Api, wanted: Wanted, found: Mapping[str, Any], listeners: Mapping[int, Listener], about: str
) -> dict[str, Any]:
    """The load balancer in the shape of its declaration, without what is not declared."""
    if not found:
        return {}
    arn = found["LoadBalancerArn"]
    attributes = elb.call("DescribeLoadBalancerAttributes", about, LoadBalancerArn=arn)["Attributes"]
    tags = elb.call("DescribeTags", about, ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
    return {
        "scheme": found["Scheme"],
        "subnets": sorted(zone["SubnetId"] for zone in found["AvailabilityZones"]),
        "security_groups": sorted(found.get("SecurityGroups", [])),
        "attributes": declared(as_dict(attributes), wanted.attributes),
        **({} if wanted.tags is None else {"tags": ours_of(as_dict(tags), wanted.tags)}),
        "listeners": {port: _picture(listener) for port, listener in listeners.items()},
    }


def _change_settings(elb: Api, wanted: Wanted, outcome: Outcome, about: str) -> None:
    arn, was, will = outcome.arn, outcome.before, outcome.after
    new = not was
    if not new and was["subnets"] != will["subnets"]:
        elb.call("SetSubnets", about, LoadBalancerArn=arn, Subnets=will["subnets"])
    if not new and was["security_groups"] != will["security_groups"]:
        elb.call("SetSecurityGroups", about, LoadBalancerArn=arn, SecurityGroups=will["security_groups"])
    if wanted.attributes and was.get("attributes") != will["attributes"]:
        elb.call("ModifyLoadBalancerAttributes", about, LoadBalancerArn=arn, Attributes=as_pairs(wanted.attributes))
    if wanted.tags is not None:
        change_tags(elb, arn, was.get("tags", {}), wanted.tags, about)


def _change_listeners(
    elb: Api, arn: str, there: Mapping[int, Listener], wanted: Mapping[int, Listener], about: str
) -> None:
    # HTTPS exists before HTTP redirects to it, and HTTP serves before HTTPS is removed.
    for port in sorted(wanted, reverse=True):
        if port not in there:
            elb.call("CreateListener", about, LoadBalancerArn=arn, Port=port, **wanted[port])
        elif _picture(there[port]) != _picture(wanted[port]):
            elb.call("ModifyListener", about, ListenerArn=there[port]["ListenerArn"], **wanted[port])
    for port in there:
        if port not in wanted:
            elb.call("DeleteListener", about, ListenerArn=there[port]["ListenerArn"])


def _until_active(elb: Api, wanted: Wanted) -> None:
    deadline = time.monotonic() + wanted.timeout
    while wanted.timeout:
        state = find(elb, wanted.name).get("State", {})
        if state.get("Code") in ("active", "active_impaired"):
            return
        if state.get("Code") == "failed" or time.monotonic() > deadline:
            reason = f" ({state['Reason']})" if state.get("Reason") else ""
            raise OperationError(
                f"The load balancer {wanted.name} is {state.get('Code', 'gone')} and not active{reason} after "
                f"{wanted.timeout:g} s. Run it again to continue waiting."
            )
        time.sleep(PAUSE)
