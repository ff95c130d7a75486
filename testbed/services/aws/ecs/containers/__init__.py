# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of Amazon ECS as containers of a docker engine.

A pause container owns the address and the network namespace of a task; the task's containers share both. They start
in the order of dependsOn, and stop in the reverse order.

AWS's: the order of starts and stops; health checks; secrets of Secrets Manager and of the Parameter Store, with JSON
keys, versions and stages; entry point, command, environment, user, working directory, memory limits; stopTimeout and
startTimeout; logs in CloudWatch Logs; the reasons of a task that does not start, of memory and of exit codes.

Simplified:
- An image of ECR is looked up in the registry's API, and its content in the engine: nothing is ever pulled.
- A task's memory limits each of its containers, not all of them together. CPU is not limited.
- A task has no credentials of its role, and no metadata endpoint: the agent gives all tasks the same environment.
- Volumes are empty ones of the task. EFS, FSx and host paths do not exist.
"""
