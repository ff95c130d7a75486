#!/bin/sh
# The addresses of IMDS on this container's loopback; hosts have a route to them through this container.
set -eu
ip address replace 169.254.169.254/32 dev lo
ip -6 address replace fd00:ec2::254/128 dev lo nodad || echo "no IPv6 here: IMDS answers over IPv4 only"
exec python3 /srv/testbed/imds.py /etc/testbed/instances.json
