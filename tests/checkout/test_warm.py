# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A warm Ansible behaves like a new one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.support import environment
from tests.warm import PYTHON, Playbook, servers

PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.command: sh -c 'echo $WORD {{ lookup('env', 'WORD') }}'
      register: said
    - ansible.builtin.debug: var=said.stdout
    - ansible.builtin.stat: path=/
    - ansible.builtin.fail:
        msg: as asked
      when: fails | default(false)
"""


def plain(**more: str) -> dict[str, str]:
    return environment(ANSIBLE_NOCOLOR="1", LC_ALL="C.UTF-8", **more)


def new(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    program = Path(sys.executable).parent / "ansible-playbook"
    finished = subprocess.run(
        [str(program), *words, *by(sys.executable)],
        cwd=folder,
        env=plain(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return finished.returncode, finished.stdout


def known(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    with (folder / "output").open("w+") as output:
        code = Playbook([*words, *by(PYTHON)], folder, plain(**variables), output).wait(120)
    return code, (folder / "output").read_text()


@pytest.mark.parametrize(("options", "code"), [((), 0), (("-e", "fails=true"), 2), (("--no-such-option",), 2)])
def test_code_and_output_are_those_of_a_new_one(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    words = ("-i", "localhost,", "-c", "local", "play.yml", *options)
    expected = new(tmp_path, *words, WORD="said")
    assert expected[0] == code, expected
    # The second has what the first one imported.
    for _time in range(2):
        assert known(tmp_path, *words, WORD="said") == expected


def by(interpreter: str | Path) -> tuple[str, str]:
    return ("-e", f"ansible_python_interpreter={interpreter}")


def test_it_is_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.pause: {seconds: 60}\n"
    )

    def begin() -> Playbook:
        words = ["-i", "localhost,", "-c", "local", "play.yml", *by(PYTHON)]
        with (tmp_path / "output").open("w+") as output:
            # Ansible lets the system flush what it says.
            run = Playbook(words, tmp_path, plain(PYTHONUNBUFFERED="1"), output)
        deadline = time.monotonic() + 120
        # Ansible breaks if it is interrupted between two tasks.
        while "Pausing" not in (tmp_path / "output").read_text():
            assert time.monotonic() < deadline, "the play begins"
            time.sleep(0.05)
        return run

    killed = begin()
    with suppress(subprocess.TimeoutExpired):
        code = killed.wait(0.1)
        pytest.fail(f"ended with {code}: {(tmp_path / 'output').read_text()}")
    assert (os.getsid(killed.pid), killed.poll()) == (killed.pid, None)
    os.kill(killed.pid, signal.SIGKILL)
    assert (killed.wait(60), killed.poll(), killed.returncode) == (-9, -9, -9)
    interrupted = begin()
    os.killpg(interrupted.pid, signal.SIGINT)
    assert interrupted.wait(60) == 99
    assert "User interrupted execution" in (tmp_path / "output").read_text()
    left = begin()
    # As when the tests end: nobody waits for it.
    left.forget()
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(left.pid, 0)
            time.sleep(0.05)


def test_who_is_killed_while_it_asks_leaves_a_server(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  gather_facts: false\n  tasks: []\n")
    words = ("-i", "localhost,", "-c", "local", "play.yml")
    assert known(tmp_path, *words)[0] == 0
    for said in (b"", b"\0", b'\0{"words"'):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(servers(plain(), tmp_path) / "playbook"))
            asked.sendall(said)
    assert known(tmp_path, *words)[0] == 0


def test_runs_share_no_files(tmp_path: Path) -> None:
    """Plugins keep there what they look up once in a run."""
    plugins = tmp_path / "lookup_plugins"
    plugins.mkdir()
    (plugins / "folder.py").write_text(
        "from ansible import constants\nfrom ansible.plugins.lookup import LookupBase\n\n\n"
        "class LookupModule(LookupBase):\n    def run(self, terms, variables=None, **kwargs):\n"
        "        return [constants.DEFAULT_LOCAL_TMP]\n"
    )
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.stat: {path: /}\n"
        "    - ansible.builtin.debug: {msg: \"folder={{ lookup('folder') }}=\"}\n"
    )
    folders = set()
    for _time in range(2):
        code, output = known(tmp_path, "-i", "localhost,", "-c", "local", "play.yml")
        assert code == 0, output
        folders.add(output.split("folder=")[1].split("=")[0])
    assert len(folders) == 2
    assert not any(Path(folder).exists() for folder in folders)
