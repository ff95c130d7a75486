# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's loader finds collections only if it is imported before them."""

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader()
