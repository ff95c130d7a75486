# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  database:
    description:
      - How the module reaches the gateways' PostgreSQL. Each setting that is not given here comes from where
        C(libpq) looks for it, the environment variables C(PGHOST), C(PGUSER), C(PGSSLMODE) and so on, and a password
        from C(~/.pgpass) or C(PGPASSFILE); all on the machine on which the module runs, usually the controller.
      - Use the role of the gateways. PgBouncer in transaction mode is supported.
      - Only a server that accepts writes is used; of several hosts, separated by commas, the first one that does.
    type: dict
    default: {}
    suboptions:
      host:
        description: Its host name, address or folder of the socket. Several are separated by commas.
        type: str
      port:
        description: Its port.
        type: int
      name:
        description: The database's name.
        type: str
      user:
        description: The role to log in as.
        type: str
      password:
        description: Its password.
        type: str
      password_file:
        description: A file that contains nothing but the password; it takes precedence over O(database.password).
        type: path
      sslmode:
        description:
          - How TLS is used.
          - V(require) unless O(database.conninfo), O(database.service) or the environment say otherwise.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
      sslrootcert:
        description: The certificates of the authorities that may have signed the server's.
        type: path
      service:
        description: A service of C(pg_service.conf).
        type: str
      conninfo:
        description: A connection string or address of C(libpq). The other settings take precedence over it.
        type: str
      connect_timeout:
        description: Seconds within which a host has to answer.
        type: int
        default: 5
      statement_timeout:
        description: Seconds after which a transaction fails, whatever the server or the network do.
        type: float
        default: 4
      lock_timeout:
        description:
          - Seconds to wait for a row that another client has locked.
          - The rows are those of the leader election, so that neither timeout should be much longer.
        type: float
        default: 2
  stale_after:
    description:
      - Seconds after which an instance without a heartbeat counts as gone, as C(STALE_INSTANCE_THRESHOLD_SECONDS) of
        the gateways. Ages are measured by the database's clock alone.
    type: float
    default: 15
requirements:
  - psycopg 3.1 or newer where the module runs (C(pip install 'psycopg[binary]'), or the package C(python3-psycopg)).
"""
