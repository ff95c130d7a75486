"""Cases for varnishtest, an independent client that drives any proxy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

CASES = sorted((Path(__file__).parent / "vtc").glob("*.vtc"))


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_varnishtest(guarded: Guarded, case: Path) -> None:
    varnishtest = shutil.which("varnishtest")
    assert varnishtest, "install varnish, it brings varnishtest"
    done = subprocess.run(
        [varnishtest, "-t", "20", "-D", f"gateway=127.0.0.1:{guarded.port}", str(case)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
