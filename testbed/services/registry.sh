#!/bin/sh
# A registry that requires the user and token that the AWS endpoint issues for ECR.
set -eu
if [ ! -d /var/lib/docker-registry/docker ] && [ -d /srv/registry/kept/data/docker ]; then
    rm -rf /var/lib/docker-registry/kept
    cp -r /srv/registry/kept/data/docker /var/lib/docker-registry/kept
    mv /var/lib/docker-registry/kept /var/lib/docker-registry/docker
fi
htpasswd -niB AWS < /etc/testbed/token > /run/htpasswd
exec docker-registry serve /etc/testbed/config.yml
