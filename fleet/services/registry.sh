#!/bin/sh
# A registry that wants the user and token that the AWS endpoint gives out for ECR.
set -eu
htpasswd -niB AWS < /etc/fleet/token > /run/htpasswd
exec docker-registry serve /etc/fleet/config.yml
