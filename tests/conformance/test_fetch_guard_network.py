"""The fetch guard beyond loopback, in a network namespace of its own (guard_lab.py): private, link-local and metadata
addresses, names that resolve to them, redirects from a public site to them, and a name that changes its mind."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import guard_lab

HERE = Path(__file__).parent
REFUSAL = r"subject_image: address not allowed.*"


@pytest.fixture(scope="module")
def lab(servers, tmp_path_factory):
    if not servers.starts_its_own:
        pytest.skip("needs the binary: the server has to stand in the test's own network namespace")
    missing = [tool for tool in ("unshare", "ip", "mount") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} for a network namespace of its own")
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = subprocess.run(["unshare", *rights, "--net", "--mount", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no network namespace to be had: {probe.stderr.strip()}")
    command = [
        "unshare",
        *rights,
        "--net",
        "--mount",
        sys.executable,
        str(HERE / "guard_lab.py"),
        str(tmp_path_factory.mktemp("lab")),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=220, cwd=HERE)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


PRIVATE_NAMES = [name for name in guard_lab.NAMES if name not in ("public.test", "mixed.test", "mixed-six.test")]
FORBIDDEN = [
    *guard_lab.ADDRESSES,
    *[f"name {name}" for name in PRIVATE_NAMES],
    "decimal private",
    "hex private",
    "octal private",
    "ipv4 in ipv6, private",
]
REDIRECTS = [
    *[f"redirect to {what}" for what in guard_lab.ADDRESSES],
    *[f"redirect to name {name}" for name in PRIVATE_NAMES],
    "redirect to loopback",
]


def test_guard_laboratory_works(lab):
    """Controls: the public site can be fetched through the guard, and the forbidden addresses really answer."""
    public = lab["unchanged"]["name public.test"]
    assert public["status"] == 200 and public["reached"] == [guard_lab.PUBLIC], public
    assert lab["unchanged"]["public ipv6"]["status"] == 200, lab["unchanged"]["public ipv6"]
    there = [what for what, answer in lab["control"].items() if answer is True]
    assert set(guard_lab.ADDRESSES) - set(there) <= {"this network", "link-local ipv6"}, lab["control"]
    # Permitting loopback permits loopback only.
    assert lab["default"]["private 10/8"]["status"] == 400 and lab["default"]["private 10/8"]["reached"] == []


@pytest.mark.parametrize("case", FORBIDDEN)
def test_guard_denies(lab, case):
    seen = lab["unchanged"][case]
    assert seen["reached"] == [], seen
    assert seen["status"] == 400, seen
    assert re.fullmatch(REFUSAL, seen["error"]), seen


@pytest.mark.parametrize("case", REDIRECTS)
def test_guard_denies_redirects(lab, case):
    seen = lab["unchanged"][case]
    assert seen["reached"] == [guard_lab.PUBLIC], seen
    assert seen["status"] == 400, seen
    assert re.fullmatch(REFUSAL, seen["error"]), seen


@pytest.mark.parametrize("case", ["name mixed.test", "name mixed-six.test"])
def test_guard_of_names_with_both_kinds_of_address(lab, case):
    """Either refused, or fetched from the public one; never from the other."""
    seen = lab["unchanged"][case]
    assert seen["reached"] in ([], [guard_lab.PUBLIC]), seen
    assert (seen["status"] == 200) == (seen["reached"] == [guard_lab.PUBLIC]), seen


def test_guard_connects_to_the_address_that_it_vetted(lab):
    """DNS rebinding: the name is public when it is vetted and private when it is asked again."""
    seen = lab["unchanged"]["rebinding"]
    assert seen["reached"] in ([], [guard_lab.PUBLIC]), seen
    assert seen["status"] == 200, f"a single look-up gives the public address, and that one is connected to: {seen}"
