# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWS endpoint, for tests only: python -m aws ACCOUNT.json

moto, served under AWS's own names, with the testbed's account made at every start (so that a restart loses only what
tests changed since) and with what moto lacks: a gap is a function that may answer a call before moto does.
"""
