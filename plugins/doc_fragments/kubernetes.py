# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - A kubeconfig file, or its content as a dictionary; else E(K8S_AUTH_KUBECONFIG).
      - Without it, the service account of the pod in which Ansible runs, else C(~/.kube/config).
    type: raw
  context:
    description: A context of the kubeconfig; else E(K8S_AUTH_CONTEXT), else its current one.
    type: str
  host:
    description: The URL of the API server; else E(K8S_AUTH_HOST).
    type: str
  api_key:
    description: A bearer token; else E(K8S_AUTH_API_KEY).
    type: str
  username:
    description: A user for HTTP basic authentication, where a proxy in front of the API server has it.
    type: str
  password:
    description: The password of O(username).
    type: str
  validate_certs:
    description: Whether the API server's certificate is verified; else E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description: A file of CA certificates; else E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description: A client certificate; else E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description: The key of O(client_cert); else E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  proxy:
    description: The URL of an HTTP proxy; else E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description: Hosts that are reached without O(proxy), separated by commas; else E(K8S_AUTH_NO_PROXY).
    type: str
  impersonate_user:
    description: The user to act as; else E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description: The groups to act as; else E(K8S_AUTH_IMPERSONATE_GROUPS).
    type: list
    elements: str
requirements:
  - the Python package kubernetes 24.2 or later where the module runs
"""
