# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for all tests. KEEP_TESTBED=1 keeps it after the tests and uses one that exists."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    keep = bool(os.environ.get("KEEP_TESTBED"))
    try:
        found = Cluster() if keep else Cluster.up()
    except IndexError:
        found = Cluster.up()
    yield found
    if not keep:
        found.down()


@pytest.fixture
def serving(cluster: Cluster) -> Cluster:
    """Three pods of the first version, in a namespace of their own."""
    cluster.deploy(cluster.images["v1"])
    return cluster


@pytest.fixture
def colored(cluster: Cluster) -> Iterator[Cluster]:
    """Two pods of the first version as blue, none as green, with an autoscaler and a disruption budget."""
    cluster.deploy_colors(cluster.images["v1"])
    yield cluster
    cluster.kubectl("delete", "namespace", "gateway", "--timeout=120s")
