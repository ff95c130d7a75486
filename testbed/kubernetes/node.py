# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node of Kubernetes in one container: node.py STATE

Starts the control plane, a kubelet with a Docker engine of its own, and what the gateway needs: a registry, PostgreSQL
and a backend on the address that pods reach. Writes a kubeconfig to the directory STATE. Ends if one
of them ends.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

BIN = Path("/opt/kubernetes")
PKI = Path("/run/pki")
LOGS = Path("/var/log/kubernetes")
API_PORT = 6443
BRIDGE = "10.244.0.1"
PODS = "10.244.0.0/24"
REGISTRY_PORT = 5000
# What the kubelet 1.20 would set for the whole machine.
KERNEL = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}
PAUSE = "testbed/pause:3.2"


class Programs:
    """The processes that have to live."""

    def __init__(self) -> None:
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *command: str, env: dict[str, str] | None = None) -> None:
        log = (LOGS / f"{name}.log").open("ab")
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(env or {})})
        self._started.append((name, process))

    def wait_for_one(self) -> str:
        while True:
            for name, process in self._started:
                if process.poll() is not None:
                    return f"{name} ended with {process.returncode}; its log is {LOGS}/{name}.log"
            time.sleep(1)

    def stop(self) -> None:
        for _name, process in reversed(self._started):
            process.terminate()
        for _name, process in reversed(self._started):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def run(*command: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(command, input=stdin, check=False, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode()}")
    return done.stdout


def answers(url: str, token: str = "") -> Callable[[], bool]:
    """Whether a server of this container answers at a URL."""
    request = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    tls = ssl._create_unverified_context() if url.startswith("https:") else None

    def check() -> bool:
        try:
            with urlopen(request, timeout=2, context=tls):
                return True
        except OSError:
            return False

    return check


def wait_until(what: str, check: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not answer within {seconds:g} s")
        time.sleep(0.3)


def prepare() -> None:
    """What a container lacks that a kubelet and an engine expect of a machine."""
    run("mount", "--make-rshared", "/")
    for name, value in KERNEL.items():
        stands_for = Path("/run/kernel") / name.replace("/", ".")
        stands_for.parent.mkdir(exist_ok=True)
        stands_for.write_text(value + "\n")
        run("mount", "--bind", str(stands_for), f"/proc/sys/{name}")
    if not Path("/dev/kmsg").exists():
        Path("/dev/kmsg").symlink_to("/dev/null")
    Path("/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for directory in (PKI, LOGS):
        directory.mkdir(parents=True, exist_ok=True)


def make_certificates() -> None:
    """A CA, the API server's certificate and the key of service accounts."""
    subject = PKI / "names.cnf"
    subject.write_text("subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1")
    ca = ("-keyout", str(PKI / "ca.key"), "-out", str(PKI / "ca.crt"))
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=testbed", *ca)
    request = ("-keyout", str(PKI / "api.key"), "-out", str(PKI / "api.csr"))
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kube-apiserver", *request)
    signed = ("-CA", str(PKI / "ca.crt"), "-CAkey", str(PKI / "ca.key"), "-CAcreateserial", "-days", "30")
    files = ("-in", str(PKI / "api.csr"), "-out", str(PKI / "api.crt"), "-extfile", str(subject))
    run("openssl", "x509", "-req", *signed, *files)
    run("openssl", "genrsa", "-out", str(PKI / "accounts.key"), "2048")


def kubeconfig(server: str, token: str) -> str:
    authority = {"certificate-authority-data": base64.b64encode((PKI / "ca.crt").read_bytes()).decode()}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {"server": server, **authority}}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "operator"}}],
            "current-context": "testbed",
        },
        indent=2,
    )


def start_engine(programs: Programs) -> None:
    for stale in ("/var/run/docker.pid", "/run/docker/containerd/containerd.pid"):
        Path(stale).unlink(missing_ok=True)
    # A copy, because the checkout may change while the node runs.
    runtime = shutil.copy(Path(__file__).with_name("runc"), "/usr/local/bin/runc-testbed")
    programs.start(
        "dockerd",
        "dockerd",
        "--iptables=false",
        f"--bip={BRIDGE}/24",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--add-runtime=testbed={runtime}",
        "--default-runtime=testbed",
        "--log-level=warn",
    )
    wait_until(
        "dockerd", lambda: not subprocess.run(["docker", "version"], check=False, capture_output=True).returncode
    )
    # Those of a node that was killed.
    left = run("docker", "ps", "-aq").decode().split()
    if left:
        run("docker", "rm", "-f", *left)
    root = Path("/run/pause")
    root.mkdir(exist_ok=True)
    shutil.copy(BIN / "pause", root / "pause")
    archive = run("tar", "-C", str(root), "-c", "pause")
    run("docker", "import", "--change", 'ENTRYPOINT ["/pause"]', "-", PAUSE, stdin=archive)


def start_registry(programs: Programs) -> None:
    config = Path("/run/registry.yml")
    storage = {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}, "delete": {"enabled": True}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"}}))
    programs.start("registry", "docker-registry", "serve", str(config))
    wait_until("the registry", answers(f"http://127.0.0.1:{REGISTRY_PORT}/v2/"))


def start_control_plane(programs: Programs, tokens: dict[str, str]) -> None:
    table = PKI / "tokens.csv"
    table.write_text(
        f'{tokens["admin"]},admin,admin,"system:masters"\n{tokens["operator"]},operator,operator,"gateway-operators"\n'
    )
    local = PKI / "admin.kubeconfig"
    local.write_text(kubeconfig(f"https://127.0.0.1:{API_PORT}", tokens["admin"]))
    programs.start("etcd", "etcd", "--data-dir=/run/etcd", "--listen-peer-urls=http://127.0.0.1:2380")
    wait_until("etcd", answers("http://127.0.0.1:2379/health"))
    programs.start(
        "kube-apiserver",
        str(BIN / "kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={PKI}/api.crt",
        f"--tls-private-key-file={PKI}/api.key",
        f"--service-account-key-file={PKI}/accounts.key",
        f"--service-account-signing-key-file={PKI}/accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--token-auth-file={table}",
        "--authorization-mode=RBAC",
        "--allow-privileged",
    )
    wait_until("kube-apiserver", answers(f"https://127.0.0.1:{API_PORT}/readyz", tokens["admin"]))
    programs.start(
        "kube-controller-manager",
        str(BIN / "kube-controller-manager"),
        f"--kubeconfig={local}",
        f"--service-account-private-key-file={PKI}/accounts.key",
        f"--root-ca-file={PKI}/ca.crt",
        "--leader-elect=false",
    )
    programs.start("kube-scheduler", str(BIN / "kube-scheduler"), f"--kubeconfig={local}", "--leader-elect=false")


def start_kubelet(programs: Programs) -> None:
    config = PKI / "kubelet.json"
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "resolvConf": "/etc/resolv.conf",
        "evictionHard": {"memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        # Requests for the API server come from tests that change much in a short time.
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "serializeImagePulls": False,
    }
    config.write_text(json.dumps(settings))
    programs.start(
        "kubelet",
        str(BIN / "kubelet"),
        f"--config={config}",
        f"--kubeconfig={PKI}/admin.kubeconfig",
        "--hostname-override=node-1",
        f"--pod-infra-container-image={PAUSE}",
        "--network-plugin=",
        "--cert-dir=/run/kubelet",
    )


def start_surroundings(programs: Programs, tokens: dict[str, str]) -> None:
    database = {"DATABASE_NAME": "gateway", "DATABASE_PASSWORD": tokens["database"]}
    programs.start("database", "sh", "/srv/testbed/database.sh", env=database)
    programs.start("backend", "python3", "/srv/testbed/echo.py", "users")
    address = f"https://127.0.0.1:{API_PORT}"
    programs.start("proxy", "python3", "/srv/kubernetes/proxy.py", address, env={"TOKEN": tokens["admin"]})


def main() -> None:
    state = Path(sys.argv[1])
    tokens = {name: secrets.token_hex(16) for name in ("admin", "operator", "database")}
    programs = Programs()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        prepare()
        make_certificates()
        start_engine(programs)
        start_registry(programs)
        start_control_plane(programs, tokens)
        start_kubelet(programs)
        start_surroundings(programs, tokens)
        address = os.environ["API_ADDRESS"]
        for name in ("admin", "operator"):
            (state / f"{name}.kubeconfig").write_text(kubeconfig(address, tokens[name]))
        (state / "node.json").write_text(json.dumps({"database_password": tokens["database"], "bridge": BRIDGE}))
        print("ready", flush=True)
        raise SystemExit(programs.wait_for_one())
    finally:
        programs.stop()


if __name__ == "__main__":
    main()
