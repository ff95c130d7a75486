"""Runs third-party suites: `python -m untrusted.suites [--h2spec FOLDER] [--cache-tests FOLDER]`.

h2spec (summerwind's) is built with Debian's Go packages; cache-tests (http-tests') needs Node and npm's undici. The
figures are printed; what fails is named in gateway/README.md.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from support.gateway import GatewayProcess
from support.recorder import Recorder
from support.wait import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

# Their own judgement of each result, in words.
_JUDGE = """
const [folder, file] = process.argv.slice(2);
const { determineTestResult, resultTypes } = await import(`${folder}/test-engine/lib/results.mjs`);
const suites = (await import(`${folder}/tests/index.mjs`)).default;
const results = JSON.parse((await import("fs")).readFileSync(file, "utf8"));
for (const test of suites.flatMap((suite) => suite.tests).filter((test) => !test.browser_only)) {
  const type = determineTestResult(suites, test.id, results);
  console.log(Object.keys(resultTypes).find((name) => resultTypes[name] === type), test.id);
}
"""


@contextlib.contextmanager
def gateway(scratch: Path, prefix: str, upstream: str, **environment: str) -> Iterator[GatewayProcess]:
    routes = json.dumps([{"prefix": prefix, "upstream": upstream}])
    process = GatewayProcess(scratch / "gateway.log", {"ROUTES": routes, **environment})
    try:
        yield process.ready()
    finally:
        process.destroy()


def h2spec(source: Path, scratch: Path) -> None:
    workspace = scratch / "go"
    package = workspace / "src" / "github.com" / "summerwind" / "h2spec"
    package.parent.mkdir(parents=True)
    package.symlink_to(source.resolve())
    subprocess.run(
        ["go", "build", "-o", scratch / "h2spec", "./cmd/h2spec"],
        cwd=package,
        env=os.environ
        | {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{workspace}:/usr/share/gocode", "PWD": f"{package}"},
        check=True,
    )
    with Recorder() as backend, gateway(scratch, "/api/users", backend.url) as process:
        done = subprocess.run(
            [scratch / "h2spec", "-h", "127.0.0.1", "-p", str(process.port), "-P", "/api/users/1"],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        print(done.stdout[done.stdout.find("Failures:") :])
        assert not backend.violations, backend.violations


def cache_tests(source: Path, scratch: Path) -> None:
    port = free_port()
    theirs = {"port": str(port), "protocol": "http", "pidfile": f"{scratch}/pid", "id": ""}
    environment = os.environ | {f"npm_package_config_{name}": value for name, value in theirs.items()}
    node = ["node", "--no-warnings"]
    server = subprocess.Popen(
        [*node, "test-engine/server/server.mjs"], cwd=source, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        with gateway(
            scratch,
            "/",
            f"http://localhost:{port}",
            CACHE_ENABLED="true",
            CACHE_DEFAULT_TTL="86400",
            CIRCUIT_ERRORS="0",
        ) as process:
            results = scratch / "results.json"
            with results.open("w") as output:
                subprocess.run(
                    [*node, "test-engine/cli.mjs"],
                    cwd=source,
                    env=environment | {"npm_package_config_base": f"http://127.0.0.1:{process.port}"},
                    stdout=output,
                    timeout=900,
                    check=True,
                )
    finally:
        server.terminate()
        server.wait(10)
    judge = scratch / "judge.mjs"
    judge.write_text(_JUDGE)
    judged = subprocess.run([*node, judge, source.resolve(), results], capture_output=True, text=True, check=True)
    found = [line.split() for line in judged.stdout.splitlines()]
    print("cache-tests:", dict(Counter(kind for kind, _ in found)))
    print("  required and failed:", ", ".join(name for kind, name in found if kind == "fail"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--h2spec", type=Path)
    parser.add_argument("--cache-tests", type=Path)
    arguments = parser.parse_args()
    for name, run in (("h2spec", h2spec), ("cache_tests", cache_tests)):
        folder = getattr(arguments, name)
        if folder is None:
            print(f"{name}: not run, no folder given")
            continue
        with tempfile.TemporaryDirectory(prefix="gateway-suites-") as scratch:
            run(folder, Path(scratch))


if __name__ == "__main__":
    main()
