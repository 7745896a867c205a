"""The HTTP conformance suite, unchanged, against three API nodes behind a round-robin proxy."""

import os
import subprocess
import sys

from material_server import ROOT, binary
from servers import need

# What is asked of one process only: its folder on the disk, its limits of connections and memory, its rates; the proxy
# answers some malformed requests by itself. By hand: `--conformance` takes all files.
FILES = ["test_v2.py", "test_v1.py", "test_coercion.py"]


def test_the_conformance_suite_against_three_nodes(postgres, store, request):
    need("haproxy", "haproxy")
    environment = os.environ | store.environment() | {
        "AS_ONE_BIN": str(binary()),
        "AS_ONE_DATABASE": postgres.address(),
        "MATERIAL_TRANSFER_BIN": str(ROOT / "tests/scale/as_one.py"),
    }
    files = [] if request.config.getoption("--conformance") else FILES
    suite = ROOT / "tests/conformance"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files], cwd=suite, env=environment, capture_output=True, text=True, timeout=3000, check=False
    )
    print(done.stdout[-4000:])
    assert done.returncode == 0, "the suite failed against three nodes"
