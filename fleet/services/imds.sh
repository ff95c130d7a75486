#!/bin/sh
# The address of IMDS, on this container's loopback; hosts have a route to it through this container.
set -eu
ip address replace 169.254.169.254/32 dev lo
ip -6 address replace fd00:ec2::254/128 dev lo 2>/dev/null || true
exec /opt/fleet/bin/python /srv/fleet/imds.py /etc/fleet/instances.json
