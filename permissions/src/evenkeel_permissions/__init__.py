# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entities and permissions: an HTTP API, and a worker that stores audit events."""


def __getattr__(name: str) -> str:
    """Look the version up on demand: the health check starts often, and never asks for it."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415

    return version("evenkeel-permissions")
