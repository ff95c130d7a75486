# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  declarations:
    description:
      - What is declared, applied in this order.
      - First, the packages of all declarations are installed in one transaction. Then each declaration's directories,
        files, commands, units, engine, networks, imds, logins and containers follow.
      - Required unless O(fitness) is given; with it, nothing is applied.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the declaration, usually a role. Changes, diffs and errors show it.
        type: str
        required: true
      packages:
        description:
          - Packages of the distribution's repositories. The list that fits the host is installed.
          - A package whose command is there already, from another package, a snap or an installer, is not missing;
            so an installed Docker engine is used, whatever package it comes from.
          - An installation that would remove or replace another package is refused, also by O(fitness).
        type: dict
        suboptions:
          debian:
            description: For Debian and Ubuntu.
            type: list
            elements: str
          redhat:
            description: For RedHat-like systems.
            type: list
            elements: str
          amazon:
            description: For Amazon Linux 2023; the default is O(declarations[].packages.redhat).
            type: list
            elements: str
          unless_command:
            description: Install none of them where this command is there already.
            type: str
      package_files:
        description: Packages from outside the repositories; each is verified before it is opened.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name by which dpkg or rpm knows the package. It is skipped when it is installed.
            type: str
            required: true
          url:
            description:
              - Where the file is, an C(https://), C(http://) or C(file://) address.
              - C({arch}) in it becomes C(amd64) or C(arm64).
            type: dict
            required: true
            suboptions: &per_os
              debian:
                description: For Debian and Ubuntu.
                type: str
              redhat:
                description: For RedHat-like systems.
                type: str
              amazon:
                description: For Amazon Linux 2023; the default is the one for RedHat-like systems.
                type: str
          checksum:
            description: Its checksum, such as C(sha256:2cf2…). Required unless a signature is given over https.
            type: dict
            suboptions: *per_os
          signature:
            description: The address of its detached PGP signature.
            type: dict
            suboptions: *per_os
          signature_key:
            description: The ASCII-armored public key that signs it.
            type: str
      directories:
        description: Directories, with their parents.
        type: list
        elements: dict
        suboptions:
          path:
            description: Its path.
            type: path
            required: true
          mode:
            description: Its mode, an octal number with a leading zero.
            type: str
            default: "0755"
          owner:
            description: Its owner, a name or a number.
            type: str
            default: root
          group:
            description: Its group, a name or a number.
            type: str
            default: root
      files:
        description: Files. Each needs exactly one of C(content), C(secret_content) and C(json).
        type: list
        elements: dict
        suboptions:
          path:
            description: Its path. A symbolic link is refused.
            type: path
            required: true
          content:
            description: Its text.
            type: str
          secret_content:
            description: Its text, which is in no log and no diff. The default mode is then V(0600).
            type: str
          json:
            description: Its content as data.
            type: dict
          merge:
            description:
              - Keep what else is in an existing JSON file, and merge O(declarations[].files[].json) into it as a JSON
                merge patch (RFC 7396). Objects are merged, V(null) removes a key, anything else replaces.
            type: bool
            default: false
          mode:
            description: Its mode, an octal number with a leading zero. V(0644), and V(0600) for a secret.
            type: str
          owner:
            description: Its owner, a name or a number.
            type: str
            default: root
          group:
            description: Its group, a name or a number.
            type: str
            default: root
          validate:
            description: A command that must accept the new content before it is used; C(%s) is the file to check.
            type: list
            elements: str
      commands:
        description: Commands that apply files. Each needs C(when_changed) or C(creates).
        type: list
        elements: dict
        suboptions:
          argv:
            description: The command and its arguments; no shell.
            type: list
            elements: str
            required: true
          when_changed:
            description: Run it when one of these files changed since it last succeeded.
            type: list
            elements: path
          creates:
            description: Run it when this path is missing.
            type: path
          timeout:
            description: Seconds after which it is ended and fails.
            type: int
            default: 300
      units:
        description: systemd units.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its full name, such as C(docker.service).
            type: str
            required: true
          content:
            description: The text of its unit file, written to C(/etc/systemd/system).
            type: str
          enabled:
            description: Whether it starts at boot; left alone where it is not given.
            type: bool
          state:
            description: Whether it runs; left alone where it is not given.
            type: str
            choices: [started, stopped]
          restart_when_changed:
            description: Restart it when one of these files, or its own unit file, is newer than its start.
            type: list
            elements: path
      engine:
        description: The Docker engine, which is also enabled and started.
        type: dict
        suboptions:
          config:
            description:
              - Merged into C(/etc/docker/daemon.json) as a JSON merge patch; other keys stay. What a call wrote and
                the next one no longer declares is removed.
              - What would move the engine away from its containers, such as C(data-root), is refused while some run.
              - The engine checks it first where it can (23 and newer). If it does not come up with it, the old file is
                put back.
            type: dict
          restart_running:
            description:
              - Whether the engine may restart when that stops running containers.
              - With C(live-restore) it does not, and the restart only leaves a warning.
            type: bool
            default: false
          forwarding:
            description:
              - Whether IPv4 forwarding is switched on and kept by a sysctl file. Without it, published ports are not
                reached from outside.
            type: bool
            default: false
            version_added: 0.2.0
      networks:
        description: Docker networks. One that differs is recreated only when no container is attached to it.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          driver:
            description: Its driver.
            type: str
            default: bridge
          subnet:
            description: Its address range; the engine chooses one where it is not given.
            type: str
          gateway:
            description: The host's address in it.
            type: str
          labels:
            description: Its labels. Others are ignored.
            type: dict
          options:
            description: Options of its driver. Others are ignored.
            type: dict
          internal:
            description: Whether it is isolated from external networks.
            type: bool
            default: false
          ipv6:
            description: Whether it has IPv6 addresses.
            type: bool
            default: false
      imds:
        description:
          - Which users and networks may reach the instance metadata service at C(169.254.169.254) and C(fd00:ec2::254).
          - The rules are a table of their own in nftables, loaded at boot by C(evenkeel-imds.service). No restart
            of Docker and no C(iptables -F) touches them, and they change no other rules.
        type: dict
        suboptions:
          mode:
            description:
              - V(restrict) accepts the users and networks below and rejects all others.
              - V(allow) restricts nothing.
              - V(absent) removes the rules and what loads them.
            type: str
            choices: [restrict, allow, absent]
            default: restrict
          users:
            description: Host users that may reach it. A container on the host's network counts by its user id.
            type: list
            elements: str
            default: [root]
          networks:
            description: The Docker networks whose containers may reach it, also those that later declarations create.
            type: list
            elements: str
            default: []
      logins:
        description: Logins of the root user at ECR registries.
        type: list
        elements: dict
        suboptions:
          registry:
            description: The registry's host name.
            type: str
            required: true
          method:
            description:
              - V(helper) lets amazon-ecr-credential-helper ask AWS at each pull; nothing is stored.
              - V(token) logs in with a token of C(aws ecr get-login-password), and again before it expires.
            type: str
            choices: [helper, token]
            default: helper
          region:
            description: The registry's region, for V(token).
            type: str
          environment:
            description: Environment variables for the login and for pulls from this registry.
            type: dict
      containers:
        description: Containers. One whose declaration or image differs is replaced.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name. The one that was replaced is kept, stopped, as C(<name>-previous).
            type: str
            required: true
          image:
            description: Its image, best by digest.
            type: str
            required: true
          pull:
            description:
              - When to pull. The default is V(missing) for an image by digest and V(always) for a tag.
              - In check mode nothing is pulled, and a tag is taken for what it is on the host.
            type: str
            choices: [missing, always, never]
          pull_environment:
            description:
              - Environment of the pull and so of the credential helper, such as C(HTTPS_PROXY).
              - It is added to the C(environment) of the login at the same registry.
            type: dict
            default: {}
          pull_timeout:
            description: Seconds after which a pull fails.
            type: int
            default: 600
          networks:
            description: Its networks.
            type: list
            elements: str
          network_aliases:
            description: Further names in those networks.
            type: list
            elements: str
          ports:
            description: Published ports, C([address:]host:container[/protocol]).
            type: list
            elements: str
          env:
            description: Environment variables. A boolean becomes C(true) or C(false), and V(null) leaves one out.
            type: dict
          volumes:
            description: Volumes and bind mounts, C(source:target[:options]).
            type: list
            elements: str
          tmpfs:
            description: Temporary file systems, C(path[:options]).
            type: list
            elements: str
          read_only:
            description: Whether its root file system is read-only.
            type: bool
            default: false
          cap_drop:
            description: Capabilities that it loses.
            type: list
            elements: str
          security_opt:
            description: Security options.
            type: list
            elements: str
          user:
            description: Its user.
            type: str
          command:
            description: Its command; the image's own where it is not given.
            type: list
            elements: str
          labels:
            description: Its labels.
            type: dict
          restart_policy:
            description: V(no), V(always), V(unless-stopped) or V(on-failure[:count]). Changed in place.
            type: str
            default: unless-stopped
          memory:
            description: Its memory limit, such as V(500m). Changed in place.
            type: str
          log_driver:
            description: Its log driver; the engine's default where neither this nor options are given.
            type: str
          log_options:
            description: Options of the log driver.
            type: dict
          stop_timeout:
            description: Seconds from SIGTERM to SIGKILL.
            type: int
            default: 30
          init:
            description: Whether an init forwards signals and reaps processes; the engine decides where it is not given.
            type: bool
          healthcheck:
            description: Its health check; the image's own where it is not given.
            type: dict
            suboptions:
              test:
                description: The command, optionally after C(CMD) or C(CMD-SHELL); C([NONE]) switches the image's off.
                type: list
                elements: str
              interval:
                description: The time between checks, such as V(10s).
                type: str
              timeout:
                description: The time a check may take.
                type: str
              retries:
                description: The number of consecutive failures after which it is unhealthy.
                type: int
              start_period:
                description: The time in which failures do not count.
                type: str
          extra_hosts:
            description: Lines for its hosts file, C(name:address).
            type: list
            elements: str
          stand_in:
            description:
              - While the container is replaced, a second container of the old image, C(<name>-stand-in), answers on the
                published TCP ports, so that no request fails, even if the new container does. Two containers of the
                image must be able to run at once.
              - nftables redirects new connections to it, and then to the new container. Open connections stay where
                they are, if they end within O(declarations[].containers[].stop_timeout). Clients that
                use an address of the docker network instead of a published port see the addresses change.
              - A container that doesn't pass its C(gate) before it is replaced gets no stand-in.
              - It needs the package nftables, Linux 5.2 or newer, and memory for two.
            type: bool
            default: false
            version_added: 0.2.0
          gate:
            description:
              - When the container counts as healthy. Without it, its health check decides, or else that it stays up.
              - If nothing changes, one successful request is enough.
            type: dict
            suboptions:
              url:
                description: An address that answers 200 when the container serves.
                type: str
                required: true
              about_url:
                description: An address whose JSON is returned as RV(containers) about.
                type: str
              timeout:
                description: Seconds after which the container has failed.
                type: int
                default: 90
              successes:
                description: The number of consecutive successful requests.
                type: int
                default: 2
              interval:
                description: Seconds between requests until one succeeds.
                type: float
                default: 0.5
              request_timeout:
                description: Seconds for one request.
                type: float
                default: 3
              version:
                description:
                  - The version that the container has to report. A healthy one of another version fails at once.
                  - It is read from the JSON of C(about_url), or of C(url) without one.
                type: str
                version_added: 0.2.0
              version_field:
                description: The path of the version in that JSON, such as C(version) or C(build.version).
                type: str
                default: version
                version_added: 0.2.0
              hold:
                description:
                  - Seconds for which a new container has to stay healthy after that. The first failed request fails it,
                    so that a container that exits soon after its start is not kept.
                type: float
                default: 0
                version_added: 0.2.0
attributes:
  check_mode:
    support: full
    description: Changes nothing on the host and says what would change, also where Docker is not installed yet.
    details:
      - An image's tag is not looked up in the registry, so that a tag that moved is not seen.
      - A command whose files would change is said to run.
  diff_mode:
    support: full
    description: Returns what was and what will be, with secrets hidden.
  idempotent:
    support: full
    description: A second call with the same declarations changes nothing.
    details:
      - An image by tag is pulled each time, and the container is replaced when the tag has moved.
  platform:
    support: full
    platforms: linux
    description: Debian, Ubuntu, Amazon Linux 2023 and RedHat-like systems with systemd.
requirements:
  - Python 3.9 or newer on the host; nothing else.
  - The rights of root.
notes:
  - Services of freshly installed packages are held back until a declaration starts them, configured.
"""
