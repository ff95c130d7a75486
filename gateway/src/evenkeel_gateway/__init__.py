# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's control plane: it configures HAProxy, elects the leader and reports. HAProxy is the data plane."""


def __getattr__(name: str) -> str:
    """Look the version up on demand: the supervisor never asks for it, and stays small."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415

    return version("evenkeel-gateway")
