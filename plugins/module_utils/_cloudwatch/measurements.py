# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements of the CloudWatch agent's plug-ins, each without the prefix of its plug-in's name.

Source: the agent's documentation, "Metrics collected by the CloudWatch agent".
"""

from __future__ import annotations

from collections.abc import Mapping


def _all(names: str, form: str = "{}") -> frozenset[str]:
    return frozenset(form.format(name) for name in names.split())


_CPU = "active guest guest_nice idle iowait irq nice softirq steal system user"
_VOLUME = "total_read_ops total_write_ops total_read_bytes total_write_bytes total_read_time total_write_time"
_LIMITS = (
    "cpu_time file_locks memory_data memory_locked memory_rss memory_stack memory_vms nice_priority num_fds "
    "realtime_priority signals_pending"
)
_GPU = _all(
    "utilization_gpu utilization_memory utilization_encoder utilization_decoder temperature_gpu power_draw fan_speed "
    "memory_total memory_used memory_free pcie_link_gen_current pcie_link_width_current encoder_stats_session_count "
    "encoder_stats_average_fps encoder_stats_average_latency clocks_current_graphics clocks_current_sm "
    "clocks_current_memory clocks_current_video"
)

MEASUREMENTS: Mapping[str, frozenset[str]] = {
    "cpu": _all(_CPU, "time_{}") | _all(_CPU, "usage_{}"),
    "disk": _all("free total used used_percent inodes_free inodes_used inodes_total"),
    "diskio": _all("iops_in_progress io_time reads read_bytes read_time writes write_bytes write_time")
    | _all(_VOLUME, "ebs_{}")
    | _all(_VOLUME, "instance_store_{}")
    | _all("iops tp", "ebs_volume_performance_exceeded_{}")
    | _all("iops tp", "ebs_ec2_instance_performance_exceeded_{}")
    | _all("iops tp", "instance_store_performance_exceeded_{}")
    | _all("ebs instance_store", "{}_volume_queue_length"),
    "mem": _all("active available available_percent buffered cached free inactive shared total used used_percent"),
    "net": _all("drop_in drop_out err_in err_out bytes_sent bytes_recv packets_sent packets_recv"),
    "netstat": _all(
        "close close_wait closing established fin_wait1 fin_wait2 last_ack listen none syn_sent syn_recv time_wait",
        "tcp_{}",
    )
    | {"udp_socket"},
    "nvidia_gpu": _GPU,
    "nvidia_smi": _GPU,
    "processes": _all("blocked dead idle paging running sleeping stopped total total_threads wait zombies"),
    "procstat": _all("cpu_time cpu_usage nice_priority num_fds num_threads pid pid_count read_bytes read_count")
    | _all("realtime_priority signals_pending write_bytes write_count")
    | _all("guest guest_nice idle iowait irq nice soft_irq steal stolen system user", "cpu_time_{}")
    | _all("voluntary involuntary", "{}_context_switches")
    | _all("data locked rss stack swap vms", "memory_{}")
    | _all(_LIMITS, "rlimit_{}_hard")
    | _all(_LIMITS, "rlimit_{}_soft"),
    "swap": _all("free used used_percent"),
}
