# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: compose_container
short_description: A service of a compose file as a container's declaration
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Reads a compose file and the files of its C(env_file) on the controller. Returns the container that docker compose
    would run, as M(evenkeel.fleet.host_converge) declares it. C(deploy) is Swarm's, and only its memory limit is used.
  - The container has the name of docker compose's first one, C(<project>-<service>-1), unless the file names it.
  - Whatever it can't translate is an error, so that no option is lost.
options:
  _terms:
    description: The path of the compose file.
    type: list
    elements: str
    required: true
  service:
    description: The service.
    type: str
    default: gateway
  project:
    description: The project, by default the name of the directory of the file.
    type: str
  environment:
    description:
      - The values of variables in the file, such as V(${GATEWAY_IMAGE}). The environment of the controller is not used.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Replace the container of a compose file
  become: true
  evenkeel.fleet.container_swap:
    container: "{{ lookup('evenkeel.fleet.compose_container', 'compose.yml') | combine({'stand_in': true}) }}"
"""

RETURN = r"""
_raw:
  description: The containers.
  type: list
  elements: dict
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.compose import (
    ComposeError,
    container_of,
    environment_file,
    expand,
    files_of,
)


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **options: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=options)
        return [
            read(Path(term), self.get_option("service"), self.get_option("project"), self.get_option("environment"))
            for term in terms
        ]


def read(path: Path, service: str, project: str | None, variables: Mapping[str, Any]) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        services = document["services"]
        declared = services[service]
        texts = {str(name): str(value) for name, value in variables.items()}
        declared = expand(declared, texts)
        environment: dict[str, str] = {}
        for name in files_of(declared):
            file = path.parent / name
            environment |= environment_file(file.read_text(encoding="utf-8"), str(file))
        default = f"{project or path.resolve().parent.name.lower()}-{service}-1"
        return container_of(declared, name=default, environment=environment)
    except OSError as error:
        raise AnsibleError(f"{error.filename}: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError, UnicodeError) as error:
        raise AnsibleError(f"{path}: not a compose file with the service {service}: {error!r}") from error
    except ComposeError as error:
        lines = "\n".join(f"{path}: {service}: {line}" for line in str(error).splitlines())
        raise AnsibleError(lines) from error
