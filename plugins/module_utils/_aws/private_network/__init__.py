# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private subnets of a VPC with NAT gateways, route tables, ingress rules and VPC endpoints.

What is created gets the tag OWNER, in the call that creates it. Only what has this tag is deleted. An Elastic IP
address is found by its Name tag, and its NAT gateway by the address, so that no second one is made.
"""

from __future__ import annotations
