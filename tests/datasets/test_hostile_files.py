"""Damaged and hostile files end in an error: no code, no crash, no long wait, no large memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).parents[1] / "helpers" / "hostile_files.py"


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only"
)
def test_hostile_files_take_little_time_and_memory_and_run_nothing(tmp_path):
    """Some of them crash an ordinary reader, so one process reads them all."""
    command = [sys.executable, str(HELPER), str(tmp_path)]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["done"]
