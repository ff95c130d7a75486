# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve Amazon ECS with real containers: `python -m testbed.services.aws.ecs --name mine --image debian-with-haproxy`.

Prints one line of JSON once it serves: url is the endpoint for clients.
SIGTERM ends it, and removes all containers that it made.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import threading

from .local import LocalEcs, Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="ecs", description="Amazon ECS on the docker engine of this machine.")
    parser.add_argument("--name", required=True, help="prefix and label of all that is made")
    parser.add_argument("--image", required=True, help="an image of the engine with haproxy and sleep")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port, which is printed")
    parser.add_argument("--network", default="", help="the engine's network for tasks; default: the name")
    parser.add_argument("--second", type=float, default=1.0, help="how long a second of a health check's interval is")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="for all that is made")
    parser.add_argument("--environment", action="append", default=[], metavar="NAME=VALUE", help="for all containers")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings(
        name=options.name,
        image=options.image,
        host=options.host,
        port=options.port,
        network=options.network,
        second=options.second,
        labels=dict(pair.split("=", 1) for pair in options.label),
        environment=dict(pair.split("=", 1) for pair in options.environment),
    )
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with LocalEcs(settings) as local:
        print(json.dumps({"url": local.url}), flush=True)
        over.wait()


if __name__ == "__main__":
    main()
