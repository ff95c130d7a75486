# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of the documentation, as `make docs` builds it from a copy of the checkout."""

project = "evenkeel.fleet"
author = "Contributors to evenkeel.fleet"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
root_doc = "docs/index"
exclude_patterns = ["docs/_site", ".github"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "A gateway fleet on an even keel", "page_width": "72rem", "sidebar_width": "17rem"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_copy_source = False
# The pages of modules link to Ansible's own, which are not at hand where the site is built without a network.
suppress_warnings = ["ref.ref", "ref.envvar"]
