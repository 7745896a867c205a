"""A page on another origin in a real browser (Debian's Chromium): A.9 as a browser enforces it."""

import json
import os
import shutil

import pytest

from client import ok
from material_server import KEY


@pytest.fixture(scope="module")
def seen(node, server):
    chromium = os.environ.get("CHROMIUM_BIN") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM_BIN")
    return node("browser", server.base, KEY, given={"executable": chromium, "body": ok()})


def test_page_is_on_another_origin(seen, server):
    assert seen["origin"].startswith("http://127.0.0.1:") and seen["origin"] != server.base


def test_page_posts_and_shows_the_picture(seen):
    """The preflight let through the key, JSON and the stray header; the Blob calls itself JPEG and is shown."""
    v1 = seen["v1"]
    assert (v1["status"], v1["type"]) == (200, "image/webp")
    assert (v1["width"], v1["height"]) == (128, 77)


def test_page_reads_the_exposed_headers(seen):
    exposed = seen["v1"]["exposed"]
    assert all(exposed.values()), exposed
    assert exposed["x-seed-value"] == "7"
    assert json.loads(exposed["x-output-metadata"])["width"] == 128


def test_page_reads_errors(seen):
    assert [error["status"] for error in seen["errors"]] == [400, 401, 404]
    assert seen["errors"][0]["body"]["error"] == "steps: must be at least 1"
    assert all(isinstance(error["body"]["error"], str) for error in seen["errors"])


def test_page_polls_and_draws_the_output(seen):
    v2 = seen["v2"]
    assert v2["state"] == "COMPLETED"
    assert v2["drawn"] == 128 * 77 * 4


def test_event_source_follows_a_job_without_a_key(seen):
    events = seen["events"]
    states = [state for at, state in enumerate(events["states"]) if at == 0 or state != events["states"][at - 1]]
    order = ["QUEUED", "PROCESSING", "COMPLETED"]
    assert states and states == order[-len(states) :], states
    assert events["last"]["request_id"] == events["id"]
    assert seen["locked"], "without its ticket the stream asks for the key"


def test_browser_complains_of_nothing_but_the_refusals(seen):
    """Chromium logs each 4xx answer; anything about CORS would be a hole in A.9."""
    assert [text for text in seen["complaints"] if "CORS" in text or "blocked" in text] == []
