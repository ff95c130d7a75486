# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  region:
    description: The AWS region; else E(AWS_REGION), E(AWS_DEFAULT_REGION) or the profile's.
    type: str
    aliases: [aws_region]
  profile:
    description: A profile of the AWS configuration; else E(AWS_PROFILE).
    type: str
    aliases: [aws_profile]
  endpoint_url:
    description: Another address of the API; else E(AWS_ENDPOINT_URL).
    type: str
  access_key:
    description: An access key id; else boto3 looks for credentials in its usual places.
    type: str
    aliases: [aws_access_key_id, aws_access_key]
  secret_key:
    description: The secret of O(access_key).
    type: str
    aliases: [aws_secret_access_key, aws_secret_key]
  session_token:
    description: The session token of temporary credentials.
    type: str
    aliases: [aws_session_token]
  aws_ca_bundle:
    description: A file of CA certificates; else E(AWS_CA_BUNDLE).
    type: path
requirements:
  - boto3 and botocore where the module runs, for what it asks of AWS
"""
