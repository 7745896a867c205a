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
    changes, _ = workload.job_of_at_least(api, TTL + 2)
    job = api.submit(**changes)
    ended = api.wait(job, seconds=200).json()
    assert ended["status"] == "COMPLETED"
    assert ended["metrics"]["inference_time"] > TTL, "too short to show anything"
    result = api.get(job["response_url"])
    assert result.status_code == 200
    image_of(api.get(result.json()["output"], headers={}))
