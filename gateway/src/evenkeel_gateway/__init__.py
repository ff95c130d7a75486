# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's control plane: it configures, elects, watches and reports; HAProxy carries the traffic."""


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: the first process of the container never does, and stays small."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415

    return version("evenkeel-gateway")
