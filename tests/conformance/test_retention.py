"""F-60 … F-64: a result lives for its time to live, counted from the end of the job, and not a moment longer."""

import time

import pytest

import workload
from client import error_of, image_of

TTL = 5.0
URLS = ("status_url", "response_url", "poll_url")


@pytest.fixture(scope="module")
def life(special):
    """A completed and a failed job, read right after their end and again after TTL + 2 s."""
    api = special("ttl")
    failed = api.submit(subject_image="http://no-such-host.invalid/subject.png")
    assert api.wait(failed, every=0.05).json()["status"] == "FAILED"
    failed_before = [api.get(failed[url]) for url in URLS]
    done = api.submit()
    assert api.wait(done, every=0.05).json()["status"] == "COMPLETED"
    before = [api.get(done[url]) for url in URLS]
    output = before[1].json()["output"]
    file_before = api.get(output, headers={})
    time.sleep(TTL + 2)
    after = [api.get(done[url]) for url in URLS]
    failed_after = [api.get(failed[url]) for url in URLS]
    return {
        "api": api,
        "done": done,
        "before": before,
        "after": after,
        "failed before": failed_before,
        "failed after": failed_after,
        "file before": file_before,
        "file after": api.get(output, headers={}),
    }


def test_f60_there_right_after_the_end(life):
    for answer in life["before"]:
        assert answer.status_code == 200 and answer.json()["status"] == "COMPLETED"


def test_f61_gone_after_the_ttl(life):
    for answer in life["after"]:
        assert error_of(answer, 404) == f"Request {life['done']['request_id']} not found"
        assert "status" not in answer.json()


def test_f62_failed_before_and_after(life):
    for answer in life["failed before"]:
        error_of(answer, 422)
        assert answer.json()["status"] == "FAILED"
    for answer in life["failed after"]:
        error_of(answer, 404)


def test_f63_the_file_goes_with_it(life):
    image_of(life["file before"])
    error_of(life["file after"], 404)


@pytest.mark.timeout(400)
def test_f64_a_running_job_never_expires(special):
    api = special("ttl")
    # The helper waits for COMPLETED and fetches the result, and so does all that has to succeed.
    _, result = workload.done_in_at_least(api, TTL + 1)
    image_of(api.get(result["output"], headers={}))


def test_f63_nothing_is_left_on_disk(life, servers):
    """E: deletion is real, and a sweep comes at least once a minute."""
    if not servers.starts_its_own:
        pytest.skip("looks into the data folder: needs the binary")
    data = servers.started["ttl"].data
    name = life["before"][1].json()["images"][0]["file_name"]
    ends = time.monotonic() + 65
    while left := [path for path in data.rglob("*") if path.name == name]:
        assert time.monotonic() < ends, left
        time.sleep(0.2)


def test_f63_files_may_live_longer_by_configuration(special):
    api = special("long-files")
    result = api.result()
    time.sleep(3)
    error_of(api.get(f"/v2/requests/{result['request_id']}"), 404)
    image_of(api.get(result["output"], headers={}))
