# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""private_network, against moto with states that AWS's NAT gateways and endpoints have."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
import yaml
from moto.ec2.models import ec2_backends

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.private_network.declaration import OWNER
from ansible_collections.evenkeel.fleet.plugins.modules import private_network
from testbed.services.aws.network_states import NetworkStates
from tests.integration.aws.interruptions import Interruptions, changes
from tests.integration.aws.stage import call, play
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

INTERRUPTIONS = Interruptions()
STATES = NetworkStates(ACCOUNT, REGION)
ZONES = [f"{REGION}{letter}" for letter in "abc"]
ENDPOINTS = ["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager", "ssm"]
# Of what others have changed meanwhile.
REPAIRS = {"ec2:ModifySubnetAttribute", "ec2:ReplaceRouteTableAssociation"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint(INTERRUPTIONS.answer, STATES.answer) as endpoint:
        yield endpoint


@pytest.fixture
def aws(served: Endpoint) -> Iterator[Endpoint]:
    STATES.forget()
    yield served.at_its_best()
    ec2 = served.client("ec2")
    # moto counts no quota, and the module does.
    for address in ec2.describe_addresses()["Addresses"]:
        ec2_backends[ACCOUNT][REGION].release_address(allocation_id=address["AllocationId"])


@pytest.fixture(autouse=True)
def clients_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes longer than its calls."""
    made: dict[str, Any] = {}
    make = client.client

    def once(module: Any, service: str, region: str = "", sessions: dict[str, Any] | None = None) -> Any:
        if service not in made:
            made[service] = make(module, service, region, sessions)
        return made[service]

    monkeypatch.setattr(client, "client", once)


@pytest.fixture(scope="module")
def place(served: Endpoint) -> Vpc:
    """For declarations that are refused."""
    return Vpc(served)


class Vpc:
    """A VPC with a public subnet in each zone and a security group."""

    def __init__(self, aws: Endpoint, cidr: str = "172.31.0.0/16") -> None:
        self.ec2 = aws.client("ec2")
        self.name = f"network-{next(_numbers)}"
        self.id = self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        self.ec2.modify_vpc_attribute(VpcId=self.id, EnableDnsHostnames={"Value": True})
        self.gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.id)
        (main,) = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.id]}])["RouteTables"]
        self.main = main["RouteTableId"]
        self.ec2.create_route(RouteTableId=self.main, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)
        base = cidr.split(".0.0/")[0]
        self.public = [self.subnet(f"{base}.{16 * number}.0/20", zone) for number, zone in enumerate(ZONES)]
        self.group = self.security_group("services")

    def subnet(self, cidr: str, zone: str, **tags: str) -> str:
        made = self.ec2.create_subnet(VpcId=self.id, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        if tags:
            self.ec2.create_tags(Resources=[made], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        return str(made)

    def security_group(self, name: str) -> str:
        made = self.ec2.create_security_group(GroupName=f"{name}-{self.name}", Description=name, VpcId=self.id)
        return str(made["GroupId"])

    def declared(self, **more: Any) -> dict[str, Any]:
        return {"name": self.name, "vpc_id": self.id, "public_subnets": [self.public[0]], "timeout": 5, **more}

    def everything(self, **more: Any) -> dict[str, Any]:
        """A declaration with all parts."""
        ingress = [
            {"security_group": self.group, "ports": [5001, 3002]},
            {"security_group": self.group, "ports": [443], "source": self.group},
        ]
        endpoints = {"endpoints": ENDPOINTS, "endpoint_security_groups": [self.group]}
        return self.declared(**{"ingress": ingress, **endpoints, "tags": {"Project": "shop"}, **more})

    def filters(self) -> list[dict[str, Any]]:
        return [{"Name": "vpc-id", "Values": [self.id]}]

    def gateways(self) -> list[dict[str, Any]]:
        found = self.ec2.describe_nat_gateways(Filter=self.filters())["NatGateways"]
        return [gateway for gateway in found if gateway["State"] in ("pending", "available")]

    def subnets(self) -> dict[str, tuple[str, str]]:
        """Zone and CIDR block by id, of those that are not public."""
        found = self.ec2.describe_subnets(Filters=self.filters())["Subnets"]
        return {
            subnet["SubnetId"]: (subnet["AvailabilityZone"], subnet["CidrBlock"])
            for subnet in found
            if subnet["SubnetId"] not in self.public
        }

    def tables(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ec2.describe_route_tables(Filters=self.filters())["RouteTables"]
        return [table for table in found if table["RouteTableId"] != self.main]

    def default_routes(self) -> set[str]:
        return {
            route.get("NatGatewayId", route.get("GatewayId", ""))
            for table in self.tables()
            for route in table["Routes"]
            if route.get("DestinationCidrBlock") == "0.0.0.0/0"
        }

    def addresses(self) -> dict[str, str]:
        """Public IP addresses by name."""
        return {
            tag["Value"]: address["PublicIp"]
            for address in self.ec2.describe_addresses()["Addresses"]
            for tag in address.get("Tags", [])
            if tag["Key"] == "Name"
        }

    def endpoints(self) -> dict[str, dict[str, Any]]:
        found = self.ec2.describe_vpc_endpoints(Filters=self.filters())["VpcEndpoints"]
        return {
            endpoint["ServiceName"].removeprefix(f"com.amazonaws.{REGION}."): endpoint
            for endpoint in found
            if endpoint["State"] != "deleted"
        }

    def rules(self) -> set[tuple[int, str]]:
        """Port and source of the ingress rules of the group."""
        found = self.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [self.group]}])
        return {
            (rule["FromPort"], rule.get("CidrIpv4") or rule["ReferencedGroupInfo"]["GroupId"])
            for rule in found["SecurityGroupRules"]
            if not rule["IsEgress"]
        }


def documented() -> set[str]:
    """The IAM actions that the documentation of the module has."""
    (note,) = yaml.safe_load(private_network.DOCUMENTATION)["notes"]
    return set(re.findall(r"C\((ec2:\w+)\)", note))


def writes(aws: Endpoint) -> list[str]:
    """The calls since the last run that change something."""
    return [name.partition(":")[2] for name in aws.faults.calls if changes(name)]


def run(aws: Endpoint, wanted: Mapping[str, Any], *, check: bool = False) -> dict[str, Any]:
    aws.faults.calls.clear()
    return call(aws, "private_network", wanted, check=check)


def both(aws: Endpoint, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Check mode writes nothing and predicts the run; the next runs change nothing."""
    expected = run(aws, wanted, check=True)
    assert (expected["failed"], expected["changed"], writes(aws)) == (False, True, []), expected
    result = run(aws, wanted)
    result["writes"] = writes(aws)
    assert (result["failed"], result["changed"], result["diff"]) == (False, True, expected["diff"]), result
    for check in (True, False, False):
        again = run(aws, wanted, check=check)
        assert (again["failed"], again["changed"], writes(aws)) == (False, False, []), again
    return result


def refused(aws: Endpoint, wanted: Mapping[str, Any]) -> str:
    """The message, which is the same in check mode; nothing was changed."""
    messages = []
    for check in (True, False):
        result = run(aws, wanted, check=check)
        assert (result["failed"], writes(aws)) == (True, []), result
        messages.append(result["msg"])
    assert messages[0] == messages[1] and messages[0].startswith("Nothing was changed: ")
    return str(messages[0])


def test_created_kept_changed_and_deleted(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    made = both(aws, vpc.everything(addresses=["shop-nat"]))
    assert made["addresses"] == vpc.addresses() and set(made["addresses"]) == {"shop-nat"}
    (gateway,) = vpc.gateways()
    assert gateway["SubnetId"] == vpc.public[0]
    assert vpc.default_routes() == {gateway["NatGatewayId"]}
    # The lowest free blocks: 172.31.0.0 to 172.31.47.255 are public.
    blocks = ["172.31.48.0/24", "172.31.49.0/24", "172.31.50.0/24"]
    assert sorted(vpc.subnets().values()) == list(zip(ZONES, blocks))
    assert sorted(made["subnets"]) == ZONES and set(made["subnets"].values()) == set(vpc.subnets())
    associated = {each["SubnetId"] for table in vpc.tables() for each in table["Associations"] if "SubnetId" in each}
    assert associated == set(vpc.subnets())
    vpc_rules = {(5001, "172.31.0.0/16"), (3002, "172.31.0.0/16")}
    assert vpc.rules() == {*vpc_rules, (443, vpc.group)}
    there = vpc.endpoints()
    assert set(there) == set(ENDPOINTS)
    assert sorted(there["s3"]["RouteTableIds"]) == sorted(made["route_tables"].values())
    assert sorted(there["logs"]["SubnetIds"]) == sorted(made["subnets"].values())
    assert there["logs"]["PrivateDnsEnabled"]

    # What others add stays.
    vpc.ec2.authorize_security_group_ingress(
        GroupId=vpc.group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8"
    )
    second = vpc.security_group("second")
    changed = both(
        aws,
        {
            **vpc.everything(addresses=["shop-nat"]),
            "ingress": [{"security_group": vpc.group, "ports": [5001, 5003]}],
            "endpoints": ["s3", "logs"],
            "endpoint_security_groups": [second],
            "tags": {"Env": "test"},
        },
    )
    assert vpc.rules() == {(5001, "172.31.0.0/16"), (5003, "172.31.0.0/16"), (22, "10.0.0.0/8")}
    assert set(vpc.endpoints()) == {"s3", "logs"}
    assert [group["GroupId"] for group in vpc.endpoints()["logs"]["Groups"]] == [second]
    assert (changed["addresses"], changed["nat_gateways"]) == (made["addresses"], made["nat_gateways"])
    assert len(vpc.gateways()) == 1
    tags = {tag["Key"]: tag["Value"] for tag in vpc.endpoints()["s3"]["Tags"]}
    assert (tags["Env"], tags.get("Project"), tags[OWNER]) == ("test", None, vpc.name)

    gone = {"name": vpc.name, "vpc_id": vpc.id, "state": "absent", "timeout": 5}
    expected = run(aws, gone, check=True)
    assert expected["changed"] and writes(aws) == []
    deleted = run(aws, gone)
    assert deleted["diff"] == expected["diff"]
    assert (deleted["failed"], deleted["changed"], deleted["addresses"]) == (False, True, made["addresses"]), deleted
    assert writes(aws) == [
        "RevokeSecurityGroupIngress",
        "DeleteVpcEndpoints",
        "DeleteNatGateway",
        *["DeleteSubnet"] * 3,
        *["DeleteRouteTable"] * 3,
    ]
    assert (vpc.subnets(), vpc.tables(), vpc.gateways(), vpc.endpoints()) == ({}, [], [], {})
    assert vpc.rules() == {(22, "10.0.0.0/8")}
    assert vpc.addresses() == made["addresses"]
    assert not run(aws, gone)["changed"] and writes(aws) == []
    # The same address serves again.
    assert both(aws, vpc.declared(addresses=["shop-nat"]))["addresses"] == made["addresses"]
    assert run(aws, {**gone, "release_address": True})["changed"]
    assert vpc.addresses() == {}


def test_an_address_that_exists_is_used_and_never_released(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    named = [{"ResourceType": "elastic-ip", "Tags": [{"Key": "Name", "Value": "allowlisted"}]}]
    address = vpc.ec2.allocate_address(Domain="vpc", TagSpecifications=named)
    made = both(aws, vpc.declared(addresses=["allowlisted"]))
    assert made["addresses"] == {"allowlisted": address["PublicIp"]}
    assert "AllocateAddress" not in made["writes"]
    gone = {"name": vpc.name, "vpc_id": vpc.id, "state": "absent", "release_address": True, "timeout": 5}
    assert run(aws, gone)["changed"] and "ReleaseAddress" not in writes(aws)
    assert vpc.addresses() == {"allowlisted": address["PublicIp"]}


def test_a_gateway_that_exists_with_the_address_is_used(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    named = [{"ResourceType": "elastic-ip", "Tags": [{"Key": "Name", "Value": "allowlisted"}]}]
    address = vpc.ec2.allocate_address(Domain="vpc", TagSpecifications=named)["AllocationId"]
    there = vpc.ec2.create_nat_gateway(SubnetId=vpc.public[1], AllocationId=address)["NatGateway"]["NatGatewayId"]
    message = refused(aws, vpc.declared(addresses=["allowlisted"]))
    assert f"is in the subnet {vpc.public[1]}, and AWS can't move it. Name this subnet in public_subnets" in message
    made = both(aws, vpc.declared(addresses=["allowlisted"], public_subnets=vpc.public[:2]))
    assert (made["nat_gateways"], vpc.default_routes()) == ({"allowlisted": there}, {there})
    assert "CreateNatGateway" not in made["writes"]
    gone = run(aws, {"name": vpc.name, "vpc_id": vpc.id, "state": "absent"})
    assert gone["changed"], gone
    assert [gateway["NatGatewayId"] for gateway in vpc.gateways()] == [there]


def test_one_gateway_becomes_one_for_each_zone_and_none(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    one = both(aws, vpc.declared(addresses=["shop-nat"]))
    names = ["shop-nat", "shop-nat-b", "shop-nat-c"]
    each = vpc.declared(nat="per_zone", addresses=names, public_subnets=vpc.public)
    many = both(aws, each)
    assert many["addresses"]["shop-nat"] == one["addresses"]["shop-nat"]
    assert vpc.default_routes() == set(many["nat_gateways"].values()) and len(vpc.gateways()) == 3
    assert {gateway["SubnetId"] for gateway in vpc.gateways()} == set(vpc.public)

    back = both(aws, vpc.declared(addresses=["shop-nat"]))
    assert (len(vpc.gateways()), len(vpc.addresses())) == (1, 3)
    kept = run(aws, vpc.declared(addresses=["shop-nat"]))["warnings"]
    assert len(kept) == 2 and "is no longer declared, and was kept. AWS charges for it." in kept[0]
    assert both(aws, vpc.declared(addresses=["shop-nat"], release_address=True))["writes"] == ["ReleaseAddress"] * 2
    assert vpc.addresses() == back["addresses"]

    none = both(aws, vpc.declared(nat="none", public_subnets=[]))
    assert none["writes"] == [*["DeleteRoute"] * 3, "DeleteNatGateway"]
    assert (vpc.gateways(), vpc.default_routes()) == ([], set())
    assert vpc.addresses() == back["addresses"]


def test_a_declared_subnet_is_where_it_was_declared(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    subnets = [{"zone": ZONES[1], "cidr": "172.31.96.0/20"}, {"zone": ZONES[0], "cidr": "172.31.112.0/24"}]
    both(aws, vpc.declared(nat="none", subnets=subnets, public_subnets=[]))
    assert set(vpc.subnets().values()) == {(ZONES[1], "172.31.96.0/20"), (ZONES[0], "172.31.112.0/24")}
    fewer = run(aws, vpc.declared(nat="none", subnets=subnets[:1], public_subnets=[]))
    assert not fewer["changed"] and "is no longer declared, and was kept" in fewer["warnings"][0]
    private = vpc.ec2.describe_subnets(Filters=[{"Name": f"tag:{OWNER}", "Values": [vpc.name]}])["Subnets"]
    vpc.ec2.modify_subnet_attribute(SubnetId=private[0]["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    repaired = both(aws, vpc.declared(nat="none", subnets=subnets, public_subnets=[]))
    assert repaired["writes"] == ["ModifySubnetAttribute"]


def test_drift_is_repaired(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    made = both(aws, vpc.declared())
    (name,) = made["addresses"]
    subnet, table = made["subnets"][ZONES[0]], made["route_tables"][ZONES[1]]
    association = next(
        each["RouteTableAssociationId"]
        for found in vpc.tables()
        for each in found["Associations"]
        if each.get("SubnetId") == subnet
    )
    vpc.ec2.replace_route_table_association(AssociationId=association, RouteTableId=vpc.main)
    vpc.ec2.replace_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=vpc.gateway)
    assert both(aws, vpc.declared())["writes"] == ["ReplaceRouteTableAssociation", "ReplaceRoute"]

    vpc.ec2.delete_nat_gateway(NatGatewayId=made["nat_gateways"][name])
    again = both(aws, vpc.declared())
    assert again["writes"] == ["CreateNatGateway", *["ReplaceRoute"] * 3]
    assert again["addresses"] == made["addresses"]


def test_waits_until_it_is_available(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    STATES.pending = 3
    made = run(aws, vpc.everything())
    assert not made["failed"], made
    seen = [line.partition(" s: ")[2] for line in made["progress"]]
    (gateway,) = made["nat_gateways"].values()
    assert seen.index(f"NAT gateway {gateway} is pending") < seen.index(f"NAT gateway {gateway} is available")
    assert f"VPC endpoint com.amazonaws.{REGION}.logs is available" in seen
    assert not run(aws, vpc.everything())["changed"]

    STATES.pending = 10**6
    slow = Vpc(aws)
    late = run(aws, slow.declared(timeout=0.5))
    assert late["msg"].startswith(f"The NAT gateways of {slow.name} are not available after 0.5 s: nat-")
    assert late["msg"].endswith("Run it again to continue waiting.")
    STATES.forget()
    assert not run(aws, slow.declared())["failed"]
    assert (len(slow.gateways()), len(slow.addresses())) == (1, 2)

    STATES.failure = "Resource.AlreadyAssociated"
    broken = Vpc(aws)
    failed = run(aws, broken.declared())
    assert "is failed (Resource.AlreadyAssociated: Elastic IP is in use). Remove the cause" in failed["msg"]
    STATES.forget()
    finished = run(aws, broken.declared())
    assert not finished["failed"] and len(finished["addresses"]) == 1


def test_an_object_that_is_not_known_yet_is_asked_for_again(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    STATES.unknown = {
        "CreateNatGateway": "InvalidAllocationID.NotFound",
        "AssociateRouteTable": "InvalidSubnetID.NotFound",
    }
    assert not run(aws, vpc.declared())["failed"]
    assert (len(vpc.gateways()), len(vpc.addresses())) == (1, 1)


def test_killed_after_each_change(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    wanted = vpc.everything(endpoints=["s3", "logs"])
    gone = {"name": vpc.name, "vpc_id": vpc.id, "state": "absent", "release_address": True, "timeout": 5}
    counts = []
    for changed in itertools.count(1):
        with INTERRUPTIONS.after(changed):
            created = run(aws, wanted)
        finished = run(aws, wanted)
        assert not finished["failed"], finished
        assert (len(vpc.gateways()), len(vpc.addresses()), len(vpc.subnets()), len(vpc.tables())) == (1, 1, 3, 3)
        assert (len(vpc.rules()), set(vpc.endpoints())) == (3, {"s3", "logs"})
        if changed % 6 == 1:
            assert not run(aws, wanted)["changed"] and writes(aws) == []
        with INTERRUPTIONS.after(changed):
            deleted = run(aws, gone)
        finished = run(aws, gone)
        assert not finished["failed"], finished
        assert (vpc.subnets(), vpc.tables(), vpc.gateways(), vpc.endpoints()) == ({}, [], [], {})
        assert (vpc.addresses(), vpc.rules()) == ({}, set())
        counts.append((created["failed"], deleted["failed"]))
        if counts[-1] == (False, False):
            break
    # Address, gateway, three subnets, tables and associations, three rules, two endpoints, three routes.
    assert len([created for created, _deleted in counts if created]) == 19


def test_each_call_denied_once(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    many, other = ["one", "two", "three"], vpc.security_group("endpoints")
    steps = [
        vpc.everything(addresses=["one"]),
        vpc.everything(nat="per_zone", addresses=many, public_subnets=vpc.public),
        vpc.declared(addresses=["one"], tags={}, endpoints=["logs", "s3"], endpoint_security_groups=[other]),
        vpc.declared(nat="none", public_subnets=[], release_address=True, tags={"Env": "test"}),
        {"name": vpc.name, "vpc_id": vpc.id, "state": "absent", "release_address": True, "timeout": 5},
    ]
    refused_calls = set()
    for step in steps:
        with INTERRUPTIONS.each_denied_once() as denied:
            for _ in range(40):
                before = len(denied)
                result = run(aws, step)
                if not result["failed"]:
                    break
                assert len(denied) == before + 1 and f"needs {denied[-1]} on " in result["msg"], result
            refused_calls |= set(denied)
        again = run(aws, step)
        assert (again["failed"], again["changed"], writes(aws)) == (False, False, [])
    assert refused_calls == documented() - REPAIRS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"subnets": [{"zone": ZONES[0], "cidr": "10.0.0.0/24"}]}, "The subnet 10.0.0.0/24 is not within the VPC"),
        ({"subnets": [{"zone": ZONES[0], "cidr": "172.31.0.1/24"}]}, "172.31.0.1/24 is no CIDR block of IPv4"),
        ({"subnets": [{"zone": ZONES[0], "cidr": "172.31.64.0/29"}]}, "must have a prefix between /16 and /28"),
        (
            {"subnets": [{"zone": zone, "cidr": "172.31.64.0/24"} for zone in ZONES[:2]]},
            "The subnets 172.31.64.0/24 and 172.31.64.0/24 overlap.",
        ),
        ({"subnets": [{"zone": ZONES[0], "cidr": "172.31.0.0/19"}]}, "overlaps the subnet subnet-"),
        (
            {"subnets": [{"zone": ZONES[0], "cidr": "172.31.0.0/20"}]},
            "has a subnet of another owner already, subnet-",
        ),
        (
            {"subnets": [{"zone": ZONES[0], "cidr": "172.31.16.0/20"}]},
            f"in {ZONES[1]}. Choose another block.",
        ),
        ({"zones": [ZONES[0], ZONES[0]]}, f"The zone {ZONES[0]} is declared twice"),
        ({"zones": ZONES, "subnets": [{"zone": ZONES[0], "cidr": "172.31.64.0/24"}]}, "so zones is not used"),
        ({"prefix_length": 29}, "prefix_length 29 is not between 16 and 28"),
        ({"prefix_length": 17}, "3 subnets of /17 are to be created, and the VPC (172.31.0.0/16) has free space for 1"),
        ({"public_subnets": []}, "nat is one, so public_subnets must name the public subnets"),
        ({"public_subnets": ["nowhere"]}, "has no subnet nowhere; public_subnets takes ids or unique Name tags."),
        ({"nat": "none", "addresses": ["shop-nat"]}, "addresses are those of NAT gateways, and nat is none"),
        ({"addresses": ["one", "two"]}, "nat is one, which takes 1 addresses, and addresses has 2 names."),
        ({"nat": "per_zone"}, f"nat is per_zone, and none of the public_subnets is in {ZONES[1]}."),
        ({"endpoints": ["logs"]}, "The endpoints logs need endpoint_security_groups"),
        ({"tags": {"Name": "shop"}}, "The tag Name is set by the module itself"),
        (
            {"ingress": [{"security_group": "sg-0123456789abcdef0", "ports": [80]}]},
            "One of the security groups sg-0123456789abcdef0 does not exist in eu-central-1",
        ),
        (
            {"ingress": [{"security_group": "sg-0123456789abcdef0", "ports": [70000]}]},
            "ingress for sg-0123456789abcdef0 needs ports between 1 and 65535, and has [70000].",
        ),
        ({"vpc_id": "vpc-0123456789abcdef0"}, "there is no VPC vpc-0123456789abcdef0 in eu-central-1."),
    ],
)
def test_what_can_not_be_is_refused_before_anything_changes(
    aws: Endpoint, place: Vpc, wrong: Mapping[str, Any], words: str
) -> None:
    assert words in refused(aws, place.declared(**wrong))


def test_a_public_subnet_without_internet_gateway_is_refused(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    vpc.ec2.delete_route(RouteTableId=vpc.main, DestinationCidrBlock="0.0.0.0/0")
    message = refused(aws, vpc.declared())
    assert f"The subnet {vpc.public[0]} is not public: its route table {vpc.main} has no default route to an" in message


def test_a_subnet_of_another_network_stays_there(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    there = [{"zone": ZONES[0], "cidr": "172.31.64.0/24"}]
    both(aws, vpc.declared(nat="none", public_subnets=[], subnets=there))
    other = {**vpc.declared(nat="none", public_subnets=[], subnets=there), "name": "other"}
    message = refused(aws, other)
    assert f"has a subnet of the private network {vpc.name} already" in message
    assert f"--tags Key={OWNER},Value=other" in message
    moved = vpc.declared(nat="none", public_subnets=[], subnets=[{"zone": ZONES[1], "cidr": "172.31.64.0/24"}])
    assert f"and AWS can't move it to {ZONES[1]}." in refused(aws, moved)


def test_addresses_that_can_not_be_used_are_refused(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    named = [{"ResourceType": "elastic-ip", "Tags": [{"Key": "Name", "Value": "taken"}]}]
    first = vpc.ec2.allocate_address(Domain="vpc", TagSpecifications=named)
    interface = vpc.ec2.create_network_interface(SubnetId=vpc.public[2])["NetworkInterface"]["NetworkInterfaceId"]
    vpc.ec2.associate_address(AllocationId=first["AllocationId"], NetworkInterfaceId=interface)
    message = refused(aws, vpc.declared(addresses=["taken"]))
    assert (
        f"The Elastic IP address taken ({first['PublicIp']}) is associated with {interface}. Disassociate it" in message
    )
    vpc.ec2.allocate_address(Domain="vpc", TagSpecifications=named)
    assert "2 Elastic IP addresses have the Name tag taken" in refused(aws, vpc.declared(addresses=["taken"]))
    for _ in range(3):
        vpc.ec2.allocate_address(Domain="vpc")
    message = refused(aws, vpc.declared(addresses=["new"]))
    assert (
        "1 Elastic IP addresses are to be allocated (new), and 5 of the quota of 5 in eu-central-1 are in use"
        in message
    )


def test_interface_endpoints_need_dns_in_the_vpc(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    vpc.ec2.modify_vpc_attribute(VpcId=vpc.id, EnableDnsHostnames={"Value": False})
    message = refused(aws, vpc.declared(endpoints=["logs"], endpoint_security_groups=[vpc.group]))
    assert f"need enableDnsHostnames in the VPC {vpc.id} for their private DNS names." in message
    assert not run(aws, vpc.declared(endpoints=["s3"]), check=True)["failed"]


def test_an_endpoint_of_others_is_used(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    there = vpc.ec2.create_vpc_endpoint(
        VpcId=vpc.id,
        ServiceName=f"com.amazonaws.{REGION}.logs",
        VpcEndpointType="Interface",
        SubnetIds=[vpc.public[0]],
        SecurityGroupIds=[vpc.group],
        PrivateDnsEnabled=True,
    )["VpcEndpoint"]["VpcEndpointId"]
    made = both(aws, vpc.declared(endpoints=["logs"], endpoint_security_groups=[vpc.group]))
    assert made["endpoints"] == {"logs": there} and "CreateVpcEndpoint" not in made["writes"]
    assert run(aws, {"name": vpc.name, "vpc_id": vpc.id, "state": "absent"})["changed"]
    assert set(vpc.endpoints()) == {"logs"}


def test_it_is_not_deleted_while_others_use_it(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    made = both(aws, vpc.declared())
    gone = {"name": vpc.name, "vpc_id": vpc.id, "state": "absent", "timeout": 5}
    subnet, table = made["subnets"][ZONES[0]], made["route_tables"][ZONES[0]]
    (gateway,) = made["nat_gateways"].values()
    interface = vpc.ec2.create_network_interface(SubnetId=subnet, Description="ELB net/services/1")
    identifier = interface["NetworkInterface"]["NetworkInterfaceId"]
    foreign = vpc.subnet("172.31.240.0/24", ZONES[0])
    vpc.ec2.associate_route_table(RouteTableId=table, SubnetId=foreign)
    other = vpc.ec2.create_route_table(VpcId=vpc.id)["RouteTable"]["RouteTableId"]
    vpc.ec2.create_route(RouteTableId=other, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
    message = refused(aws, gone)
    for words in (
        f"network interfaces of others: {identifier} in {subnet} (ELB net/services/1). Delete the services",
        f"The subnet {foreign} of others uses the route table {table}.",
        f"The route table {other} leads to the NAT gateway {gateway}, which is to be deleted. Change its route first.",
    ):
        assert words in message
    vpc.ec2.delete_network_interface(NetworkInterfaceId=identifier)
    vpc.ec2.delete_subnet(SubnetId=foreign)
    vpc.ec2.delete_route_table(RouteTableId=other)
    assert run(aws, gone)["changed"]


def test_the_playbook_shows_the_address_to_allow(aws: Endpoint) -> None:
    vpc = Vpc(aws)
    public = "public-a"
    vpc.ec2.create_tags(Resources=[vpc.public[0]], Tags=[{"Key": "Name", "Value": f"{public}-{vpc.name}"}])
    chosen = {
        "fleet_account": ACCOUNT,
        "fleet_region": REGION,
        "private_network_name": vpc.name,
        "private_network_vpc_id": vpc.id,
        "private_network_public_subnets": f"{public}-{vpc.name}",
        "private_network_ingress": [{"security_group": vpc.group, "ports": [5001]}],
        "private_network_tags": {"Env": "test"},
    }
    run_it = partial(play, aws, playbook="playbooks/private_network.yml")
    would = run_it(chosen, "--check")
    assert (would.code, would.failures, vpc.gateways()) == (0, "", [])
    made = run_it(chosen)
    assert (made.code, made.changed) == (0, would.changed)
    name = "Create or change subnets, NAT gateways, rules and endpoints"
    assert made.tasks[name].diff == would.tasks[name].diff
    ((address, public_ip),) = vpc.addresses().items()
    assert f"Add {public_ip}/32 to the allowlists of others: {address}" in made.text
    gone = run_it({**chosen, "private_network_state": "absent"})
    assert (gone.code, vpc.subnets(), vpc.gateways()) == (0, {}, [])
    assert f"Kept: {address} ({public_ip}). AWS charges for it." in gone.text
    assert vpc.addresses() == {address: public_ip}
