# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon ECS beside moto: services, deployments, tasks and task definitions that behave as AWS's do.

Three layers. `deployments`, `rolling`, `stages`, `breaker` and `tasks` are a pure engine: it takes the time from
outside, and `tick(now)` advances it. An `agent` runs the containers of a task: `containers` does on a docker engine,
`pretended` does not. `api` answers the calls of the JSON protocol, as a gap that is asked before moto. `local` is an
endpoint with real containers and, as each of its load balancers, an HAProxy (`balancer`, `proxy`, `configuration`);
`requests` and `metrics` make their requests CloudWatch's metrics.

AWS's: the shapes of all answers and the defaults that AWS fills in; which update starts a deployment; rolling within
maximumPercent and minimumHealthyPercent; the circuit breaker's threshold and reset; rollback to the last service
revision that succeeded; superseding; stages, hooks and traffic weights; the order of a task's states; the texts of
events, errors and status reasons as far as they are published.

Simplified:
- A task without a health check and without a target is healthy once it has run for `Pace.settle` seconds; one that
  stops earlier counts as failed. AWS does not publish when it takes such a task for stable.
- The circuit breaker counts a task once, whether it never ran or failed its health checks; AWS counts in two stages.
- Times are shorter: `Pace` has the seconds between two states of a task, of a retry, and of what AWS calls a minute.
- While a deployment runs, tasks of the old revision that stop by themselves are replaced by tasks of the new one.
- Lifecycle hooks work for BLUE_GREEN, LINEAR and CANARY, not for ROLLING. Each is called once, also where AWS calls it
  before every step of a traffic shift.
- A Network Load Balancer adds no ten minutes to the traffic shift. Traffic weights are told, and move no traffic.
- Classic Load Balancers, task sets, the deployment controllers CODE_DEPLOY and EXTERNAL, DAEMON services, container
  instances and placement do not exist here. All tasks find capacity.
- Subnets, security groups and roles are kept, and not looked at.
- Texts that AWS does not publish are ours: the status reasons of an alarm and of a deployment that fails without a
  rollback, StopServiceDeployment's refusals, and that of a task definition without an essential container.
"""
