"""The HTTP conformance suite, unchanged, against three API nodes behind a round-robin proxy."""

import os
import subprocess
import sys

import pytest

from material_server import ROOT, binary
from servers import need

# What is asked of one process only (its folder on the disk, its limits of connections and memory, its rates) and malformed
# requests, which the proxy answers by itself, are not asked here.
FILES = ["test_v2.py", "test_v1.py", "test_coercion.py"]


def test_the_conformance_suite_against_three_nodes(postgres, store, request):
    if not request.config.getoption("--conformance"):
        pytest.skip("takes minutes: by hand, with --conformance")
    need("haproxy", "haproxy")
    environment = os.environ | store.environment() | {
        "AS_ONE_BIN": str(binary()),
        "AS_ONE_DATABASE": postgres.address(),
        "MATERIAL_TRANSFER_BIN": str(ROOT / "tests/scale/as_one.py"),
    }
    suite = ROOT / "tests/conformance"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *FILES], cwd=suite, env=environment, capture_output=True, text=True, timeout=3000, check=False
    )
    print(done.stdout[-4000:])
    assert done.returncode == 0, "the suite failed against three nodes"
