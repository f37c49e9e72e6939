"""The units of deploy/systemd, as systemd itself reads them. What the server
tells it is in server_test.py."""

import shutil
import subprocess

import pytest


def verify(path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("no systemd-analyze: it is in Debian's package systemd")
    done = subprocess.run([analyze, "verify", "--man=no", path],
                          capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if "crossrank" in line]


@pytest.mark.parametrize("name", ["crossrank.service", "crossrank@.service"])
def test_systemd_has_nothing_to_say(name, root, build, tmp_path):
    """What it says of other units of the machine is theirs."""
    text = (root / "deploy/systemd" / name).read_text()
    unit = tmp_path / name
    unit.write_text(text.replace("/usr/local/bin/crossrank",
                                 str(build / "crossrank")))
    assert verify(unit) == []
    unit.write_text(text.replace("/usr/local/bin/", "/nowhere/"))
    assert len(verify(unit)) == 1
    unit.write_text(text.replace("TimeoutStopSec", "TimeoutStopsec"))
    assert "'TimeoutStopsec'" in verify(unit)[0]
