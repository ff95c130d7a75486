# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared load balancer with its listeners: two of an Application Load Balancer, or those of a network one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._common.progress import OperationError
from . import network_listeners
from .api import Api, RefusedError
from .listeners import Listener, change_listeners, forward_to, forwards, picture
from .network_listeners import NetworkListener
from .pairs import as_dict, as_pairs, declared
from .tags import change_tags, ours_of, recorded

APPLICATION, NETWORK = "application", "network"
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
    """attributes have AWS's own names and texts for values; timeout in seconds.

    An Application Load Balancer has a target group and a certificate, or none for HTTP alone. A network one has
    listeners, and may have no security groups.
    """

    name: str
    kind: str
    scheme: str
    subnets: Sequence[str]
    security_groups: Sequence[str]
    keep_forward: bool
    attributes: Mapping[str, str]
    tags: Mapping[str, str] | None
    timeout: float
    target_group_arn: str = ""
    certificate_arn: str = ""
    ssl_policy: str = ""
    listeners: Sequence[NetworkListener] = ()


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
    network_listeners.refuse_declaration(wanted.name, wanted.listeners)
    found = find(elb, wanted.name, wanted.kind)
    arn = found.get("LoadBalancerArn", "")
    _refuse_what_is_fixed(wanted, found)
    listeners = _listeners(elb, wanted, arn, about)
    will = _declared_listeners(wanted, listeners)
    if wanted.kind == NETWORK:
        network_listeners.refuse_target_groups(elb, wanted.name, arn, listeners, will)
    outcome = Outcome(arn, found.get("DNSName", ""))
    outcome.before = _look(elb, wanted, found, listeners, about)
    outcome.after = {
        "scheme": wanted.scheme,
        "subnets": sorted(wanted.subnets),
        "security_groups": _security_groups(wanted, found),
        "attributes": dict(wanted.attributes),
        **({} if wanted.tags is None else {"tags": recorded(wanted.tags)}),
        "listeners": {port: picture(listener) for port, listener in will.items()},
    }
    outcome.changed = outcome.before != outcome.after
    if check_mode:
        return outcome
    if not found:
        groups = list(wanted.security_groups)
        made = elb.call(
            "CreateLoadBalancer",
            about,
            Name=wanted.name,
            Type=wanted.kind,
            Scheme=wanted.scheme,
            Subnets=list(wanted.subnets),
            **({"SecurityGroups": groups} if groups or wanted.kind == APPLICATION else {}),
        )["LoadBalancers"][0]
        arn, outcome.arn, outcome.dns_name = made["LoadBalancerArn"], made["LoadBalancerArn"], made["DNSName"]
    _change_settings(elb, wanted, outcome, about)
    tags = as_pairs({network_listeners.OWNER: wanted.name}) if wanted.kind == NETWORK else []
    change_listeners(elb, arn, listeners, will, about, tags)
    _until_active(elb, wanted)
    return outcome


def remove(elb: Api, name: str, kind: str, check_mode: bool) -> Outcome:
    """Delete the load balancer with its listeners; refused while others have listeners or rules there."""
    found = find(elb, name, kind)
    if not found:
        return Outcome()
    foreign = _foreign(elb, name, kind, found["LoadBalancerArn"])
    if foreign:
        raise OperationError(f"The load balancer {name} was not deleted: {' '.join(foreign)}")
    if not check_mode:
        elb.call("DeleteLoadBalancer", f"the load balancer {name}", LoadBalancerArn=found["LoadBalancerArn"])
    return Outcome(found["LoadBalancerArn"], found["DNSName"], True, before={"name": name})


def _foreign(elb: Api, name: str, kind: str, arn: str) -> list[str]:
    """What prevents the deletion of the load balancer."""
    about = f"the load balancer {name}"
    found = []
    attributes = as_dict(elb.call("DescribeLoadBalancerAttributes", about, LoadBalancerArn=arn)["Attributes"])
    if attributes.get("deletion_protection.enabled") == "true":
        found.append("Its deletion protection is on; turn it off with the attribute deletion_protection.enabled.")
    listeners = elb.call("DescribeListeners", about, LoadBalancerArn=arn)["Listeners"]
    ours = _ours(elb, name, kind, listeners)
    others = sorted(listener["Port"] for listener in listeners if listener["ListenerArn"] not in ours)
    if others:
        found.append(f"It has listeners of others, on port {', '.join(map(str, others))}; delete these first.")
    for listener in listeners:
        # A Network Load Balancer has no rules.
        if kind == APPLICATION and listener["ListenerArn"] in ours:
            rules = elb.call("DescribeRules", about, ListenerArn=listener["ListenerArn"])["Rules"]
            own = [rule["RuleArn"] for rule in rules if not rule["IsDefault"]]
            if own:
                found.append(
                    f"Its listener on port {listener['Port']} has rules of others; delete {', '.join(own)} first."
                )
    return found


def _ours(elb: Api, name: str, kind: str, listeners: Sequence[Listener]) -> set[str]:
    if kind == NETWORK:
        return network_listeners.owned(elb, name, listeners)
    return {listener["ListenerArn"] for listener in listeners if listener["Port"] in (HTTP, HTTPS)}


def find(elb: Api, name: str, kind: str) -> dict[str, Any]:
    """The load balancer of this name, as the API describes it; empty where there is none."""
    try:
        listed = elb.call("DescribeLoadBalancers", f"the load balancer {name}", Names=[name])["LoadBalancers"]
    except RefusedError as error:
        if error.code.startswith("LoadBalancerNotFound"):
            return {}
        raise
    found: dict[str, Any] = listed[0]
    if found["Type"] != kind:
        raise OperationError(
            f"The load balancer {name} is of the type {found['Type']}, not {kind}. AWS can't change the type: set "
            f"type: {found['Type']}, or another name."
        )
    return found


def _refuse_what_is_fixed(wanted: Wanted, found: Mapping[str, Any]) -> None:
    if found and found["Scheme"] != wanted.scheme:
        raise OperationError(
            f"The load balancer {wanted.name} is {found['Scheme']} and AWS can't make it {wanted.scheme}. Create "
            "one with another name."
        )
    if wanted.kind == NETWORK and found and wanted.security_groups and not found.get("SecurityGroups"):
        raise OperationError(
            f"Nothing was changed: the Network Load Balancer {wanted.name} was created without security groups, and "
            "AWS can't add any later. Remove security_groups, or create one with another name."
        )


def _security_groups(wanted: Wanted, found: Mapping[str, Any]) -> list[str]:
    """The ones that it will have: AWS doesn't take all of them away from a Network Load Balancer."""
    kept = wanted.kind == NETWORK and not wanted.security_groups
    return sorted(found.get("SecurityGroups", []) if kept else wanted.security_groups)


def _listeners(elb: Api, wanted: Wanted, arn: str, about: str) -> dict[int, Listener]:
    """By port; without the ones on ports that are not ours."""
    listed = elb.call("DescribeListeners", about, LoadBalancerArn=arn)["Listeners"] if arn else []
    if wanted.kind == NETWORK:
        return network_listeners.of_declaration(elb, wanted.name, listed, wanted.listeners)
    return {listener["Port"]: listener for listener in listed if listener["Port"] in (HTTP, HTTPS)}


def _declared_listeners(wanted: Wanted, there: Mapping[int, Listener]) -> dict[int, Listener]:
    if wanted.kind == NETWORK:
        return network_listeners.wanted_listeners(wanted.listeners, there, wanted.keep_forward)
    existing = [action for listener in there.values() for action in forwards(listener)]
    forward = existing[0] if existing and wanted.keep_forward else forward_to(wanted.target_group_arn)
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
        "listeners": {port: picture(listener) for port, listener in listeners.items()},
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


def _until_active(elb: Api, wanted: Wanted) -> None:
    deadline = time.monotonic() + wanted.timeout
    while wanted.timeout:
        state = find(elb, wanted.name, wanted.kind).get("State", {})
        if state.get("Code") in ("active", "active_impaired"):
            return
        if state.get("Code") == "failed" or time.monotonic() > deadline:
            reason = f" ({state['Reason']})" if state.get("Reason") else ""
            raise OperationError(
                f"The load balancer {wanted.name} is {state.get('Code', 'gone')} and not active{reason} after "
                f"{wanted.timeout:g} s. Run it again to continue waiting."
            )
        time.sleep(PAUSE)
