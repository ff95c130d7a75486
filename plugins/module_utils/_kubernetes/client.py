# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the Kubernetes API by the options that kubernetes.core's modules have.

The Python client reads kubeconfig, tokens and certificates; requests go through its connection pool, because the
signatures of its own calls differ between its versions.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any

from .._common.progress import OperationError
from .api import ClusterApi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.module_utils.basic import AnsibleModule

# The options of kubernetes.core's modules, so that module_defaults and K8S_AUTH_* serve both.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "kubeconfig": {"type": "raw", "no_log": True},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
    "client_cert": {"type": "path", "aliases": ["cert_file"]},
    "client_key": {"type": "path", "aliases": ["key_file"]},
    "proxy": {"type": "str"},
    "no_proxy": {"type": "str"},
    "impersonate_user": {"type": "str"},
    "impersonate_groups": {"type": "list", "elements": "str"},
}
# The names of these options in the client's configuration.
_CONFIGURED = {
    "host": "host",
    "username": "username",
    "password": "password",
    "validate_certs": "verify_ssl",
    "ca_cert": "ssl_ca_cert",
    "client_cert": "cert_file",
    "client_key": "key_file",
    "proxy": "proxy",
    "no_proxy": "no_proxy",
}


def api(module: AnsibleModule) -> ClusterApi:
    """By the module's options, else K8S_AUTH_*, else the cluster that the process runs in, else ~/.kube/config."""
    # Imported here, because it takes longer than all other imports of a module.
    try:
        import kubernetes
    except ImportError:
        from ansible.module_utils.basic import missing_required_lib

        module.fail_json(msg=missing_required_lib("kubernetes"), exception=traceback.format_exc())
    wanted = wishes(module.params, os.environ)
    configuration = kubernetes.client.Configuration()
    try:
        _load(kubernetes.config, configuration, wanted)
    except (kubernetes.config.ConfigException, OSError, ValueError) as error:
        raise OperationError(
            f"The Kubernetes client could not be configured: {error} Set kubeconfig and context, or host and api_key, "
            "or the environment's K8S_AUTH_KUBECONFIG."
        ) from error
    for option, name in _CONFIGURED.items():
        if wanted.get(option) is not None:
            setattr(configuration, name, wanted[option])
    if wanted.get("api_key"):
        configuration.api_key = {"authorization": f"Bearer {wanted['api_key']}"}
    configuration.host = str(configuration.host).rstrip("/")
    pool = kubernetes.client.ApiClient(configuration).rest_client.pool_manager
    return ClusterApi(pool, configuration.host, lambda: _headers(configuration, wanted))


def wishes(params: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Options, and K8S_AUTH_* of those that are not given."""
    found: dict[str, Any] = {}
    for name, spec in ARGUMENTS.items():
        value = params.get(name)
        for variable in (name, *spec.get("aliases", [])):
            if value is None:
                value = environment.get(f"K8S_AUTH_{variable.upper()}")
        if isinstance(value, str) and spec["type"] == "bool":
            value = value.lower() not in ("0", "false", "no")
        if isinstance(value, str) and spec["type"] == "list":
            value = [part for part in value.split(",") if part]
        found[name] = value
    return found


def _load(config: Any, configuration: Any, wanted: Mapping[str, Any]) -> None:
    complete = wanted["host"] and (
        wanted["api_key"]
        or (wanted["username"] and wanted["password"])
        or (wanted["client_cert"] and wanted["client_key"])
    )
    if complete:
        return
    kubeconfig, context = wanted["kubeconfig"], wanted["context"]
    if isinstance(kubeconfig, dict):
        config.load_kube_config_from_dict(kubeconfig, context=context, client_configuration=configuration)
        return
    if not kubeconfig and not context:
        try:
            config.load_incluster_config(client_configuration=configuration)
            return
        except config.ConfigException:
            pass
    config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=configuration)


def _headers(configuration: Any, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Asked for at each request, because a token may be renewed meanwhile."""
    headers = {one["key"]: one["value"] for one in configuration.auth_settings().values() if one["value"]}
    if wanted["username"] and wanted["password"] and "authorization" not in headers:
        headers["authorization"] = configuration.get_basic_auth_token()
    if wanted["impersonate_user"]:
        headers["Impersonate-User"] = wanted["impersonate_user"]
    if wanted["impersonate_groups"]:
        headers["Impersonate-Group"] = ",".join(wanted["impersonate_groups"])
    return headers
