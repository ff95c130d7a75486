# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWS endpoint, for tests only: aws.py ACCOUNT.json

moto, served under AWS's own names, with the fleet's account made at every start (so that a restart loses only what
tests changed since) and with what moto lacks: each gap is one function in GAPS that may answer a call before moto does.
"""

from __future__ import annotations

import base64
import io
import json
import re
import ssl
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3
from moto import mock_aws
from moto.ec2.models import ec2_backends
from moto.moto_api._internal import mock_random
from moto.secretsmanager.utils import SecretsManagerSecretIdentifier
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.utilities.id_generator import moto_id_manager
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

PORT = 443
CERTIFICATE = "/etc/fleet-tls/server.crt"
KEY = "/etc/fleet-tls/server.key"

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(frozen=True)
class Call:
    """One request, as far as a gap needs to know it."""

    access_key: str
    service: str
    action: str
    protocol: str  # json, query, ec2 or rest

    @classmethod
    def of(cls, request: Request) -> Call:
        credential = re.search(r"Credential=([^/,]+)/[^/]+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
        access_key, service = credential.groups() if credential else ("", "")
        target = request.headers.get("X-Amz-Target", "")
        if target:
            return cls(access_key, service, target.rpartition(".")[2], "json")
        if request.mimetype == "application/x-www-form-urlencoded":
            action = parse_qs(request.get_data(as_text=True)).get("Action", [""])[0]
            return cls(access_key, service, action, "ec2" if service == "ec2" else "query")
        return cls(access_key, service, f"{request.method} {request.path}", "rest")


def error(call: Call, code: str, message: str) -> Response:
    """An error in the shape of the protocol that the call used, so that SDKs raise what AWS would make them raise."""
    if call.protocol == "query":
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        )
        return Response(f"{body}<RequestId>fleet</RequestId></ErrorResponse>", 403, content_type="text/xml")
    if call.protocol == "ec2":
        body = f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        return Response(f"{body}<RequestID>fleet</RequestID></Response>", 403, content_type="text/xml")
    name = f"{code}Exception"
    return Response(
        json.dumps({"__type": name, "message": message}),
        400 if call.protocol == "json" else 403,
        {"x-amzn-ErrorType": name},
        content_type="application/x-amz-json-1.1",
    )


def refuse_marked_keys(call: Call, account: dict[str, Any]) -> Response | None:
    """Access keys say themselves how they fare: DENIED may do nothing, EXPIRED were good once."""
    if "EXPIRED" in call.access_key:
        code = "RequestExpired" if call.protocol == "ec2" else "ExpiredToken"
        return error(call, code, "The security token included in the request is expired")
    if "DENIED" in call.access_key:
        code = "UnauthorizedOperation" if call.protocol == "ec2" else "AccessDenied"
        who = f"arn:aws:sts::{account['account']}:assumed-role/{account['role']}/fleet"
        what = f"{call.service}:{call.action}"
        why = f"no identity-based policy allows the {what} action"
        return error(call, code, f"User: {who} is not authorized to perform: {what} because {why}")
    return None


def give_registry_token(call: Call, account: dict[str, Any]) -> Response | None:
    """moto's token is the same everywhere and expired in 2015; the registry of this fleet wants its own."""
    if (call.service, call.action) != ("ecr", "GetAuthorizationToken"):
        return None
    data = {
        "authorizationToken": base64.b64encode(f"AWS:{account['ecr_token']}".encode()).decode(),
        "expiresAt": (datetime.now(timezone.utc) + timedelta(hours=12)).timestamp(),
        "proxyEndpoint": f"https://{account['registry']}",
    }
    return Response(json.dumps({"authorizationData": [data]}), content_type="application/x-amz-json-1.1")


GAPS: list[Callable[[Call, dict[str, Any]], Response | None]] = [refuse_marked_keys, give_registry_token]


def with_gaps_filled(application: Wsgi, account: dict[str, Any]) -> Wsgi:
    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ, populate_request=False)
        call = Call.of(request)
        if call.protocol in ("query", "ec2"):  # whose body was read to know the action
            environ["wsgi.input"] = io.BytesIO(request.get_data())
        for gap in GAPS:
            answer = gap(call, account)
            if answer is not None:
                return answer(environ, start_response)
        return application(environ, start_response)

    return serve


def make_account(account: dict[str, Any]) -> None:
    """Secrets, repository, instances, target group and Auto Scaling group: always with the same identifiers."""
    mocked = mock_aws()
    mocked.start()
    mock_random.seed(account["subnet"])
    session = boto3.Session("fleet", "fleet", region_name=account["region"])
    make_secrets(session, account)
    session.client("ecr").create_repository(repositoryName=account["repository"])
    make_instances(session, account)
    mock_random.seed()
    mocked.stop(remove_data=False)


def make_secrets(session: boto3.Session, account: dict[str, Any]) -> None:
    client = session.client("secretsmanager")
    for secret in account["secrets"]:
        identifier = SecretsManagerSecretIdentifier(account["account"], account["region"], secret["name"])
        moto_id_manager.set_custom_id(identifier, secret["arn"].rpartition("-")[2])
        made = client.create_secret(Name=secret["name"], SecretString=json.dumps(secret["value"]))
        assert made["ARN"] == secret["arn"], f"moto made {made['ARN']}, the hosts expect {secret['arn']}"


def make_instances(session: boto3.Session, account: dict[str, Any]) -> None:
    ec2 = session.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=account["subnet"])["Vpc"]["VpcId"]
    zone = f"{account['region']}a"
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=account["subnet"], AvailabilityZone=zone)["Subnet"]["SubnetId"]
    target_group = session.client("elbv2").create_target_group(
        Name=account["group"], Protocol="HTTP", Port=80, VpcId=vpc, HealthCheckPath="/api/health", TargetType="instance"
    )["TargetGroups"][0]["TargetGroupArn"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    template = ec2.create_launch_template(
        LaunchTemplateName=account["group"], LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
    )["LaunchTemplate"]["LaunchTemplateId"]

    identifiers = [host["instance_id"] for host in account["hosts"].values()]
    # moto draws an instance id at random; IMDS has already said which ones they are.
    draw = iter(identifiers)
    with mock.patch("moto.ec2.models.instances.random_instance_id", lambda: next(draw)):
        for host in account["hosts"].values():
            ec2.run_instances(
                ImageId=image,
                InstanceType="t3.small",
                MinCount=1,
                MaxCount=1,
                SubnetId=subnet,
                PrivateIpAddress=host["ipv4"],
                TagSpecifications=[
                    {
                        "ResourceType": "instance",
                        "Tags": [{"Key": key, "Value": value} for key, value in host["tags"].items()],
                    }
                ],
            )
            launched = datetime.strptime(host["launched_at"], "%Y-%m-%dT%H:%M:%SZ")
            ec2_backends[account["account"]][account["region"]].get_instance(host["instance_id"]).launch_time = launched

    autoscaling = session.client("autoscaling")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=account["group"],
        LaunchTemplate={"LaunchTemplateId": template},
        MinSize=0,
        MaxSize=200,
        DesiredCapacity=0,
        VPCZoneIdentifier=subnet,
        TargetGroupARNs=[target_group],
    )
    for start in range(0, len(identifiers), 20):  # the API takes 20 at a time
        autoscaling.attach_instances(AutoScalingGroupName=account["group"], InstanceIds=identifiers[start : start + 20])


class Handler(MotoRequestHandler):  # type: ignore[misc]  # moto has no types
    timeout = 60

    def log_request(self, *args: Any) -> None:
        """Silent: errors are still logged."""


def main() -> None:
    account = json.loads(Path(sys.argv[1]).read_text())
    make_account(account)
    application = with_gaps_filled(DomainDispatcherApplication(create_backend_app), account)
    server = make_server("", PORT, application, threaded=True, request_handler=Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    # The handshake happens in the thread of the connection: a silent client must not hold up the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
