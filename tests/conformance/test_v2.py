"""F-41 … F-59: submit, poll, fetch, fail; what an id reveals and to whom."""

import re
import time
from urllib.parse import urlsplit

import pytest

import pictures
from client import STATES, Api, by_hand, error_of, image_of, ok
from wire import exchange

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def job(api):
    """One job, submitted once, with everything that was answered on its way."""
    begun = time.monotonic()
    answer = api.v2()
    seconds = time.monotonic() - begun
    assert answer.status_code == 200, answer.text
    at_once = api.get(answer.json()["status_url"]), api.get(answer.json()["response_url"])
    ended = api.wait(answer.json())
    return {"submit": answer, "seconds": seconds, "body": answer.json(), "at once": at_once, "ended": ended}


def test_f41_submit(api, job):
    answer, body = job["submit"], job["body"]
    assert job["seconds"] < 2
    assert answer.headers["content-type"].startswith("application/json")
    assert body["status"] == "QUEUED"
    for name in ("request_id", "status_url", "response_url", "poll_url"):
        assert isinstance(body[name], str) and body[name], name
    ident = body["request_id"]
    # A.4 leaves the form of the id open and chooses the dashed lower-case version 4 UUID.
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", ident), ident
    assert body["status_url"] == f"{api.base}/v2/requests/{ident}/status"
    assert body["response_url"] == f"{api.base}/v2/requests/{ident}"
    assert body["poll_url"] == f"{api.base}/v1/requests/{ident}"


def test_f42_status_at_once(job):
    answer = job["at once"][0]
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] in STATES[:3]
    assert body["request_id"] == job["body"]["request_id"]
    assert "output" not in body
    assert isinstance(body["metrics"], dict)
    assert (body["status_url"], body["response_url"]) == (job["body"]["status_url"], job["body"]["response_url"])


def test_f43_result_at_once(job):
    answer = job["at once"][1]
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] in STATES[:3]
    assert body["status"] == "COMPLETED" or "output" not in body


def test_f44_completed(job):
    # That the state never steps back is held by `Api.wait` on every poll of the suite.
    body = job["ended"].json()
    assert body["status"] == "COMPLETED"
    metrics = body["metrics"]
    for name in ("inference_time", "queue_time", "total_time", "cost", "remaining_credits"):
        assert isinstance(metrics[name], (int, float)) and not isinstance(metrics[name], bool) and metrics[name] >= 0
    assert metrics["total_time"] >= metrics["inference_time"]
    assert "output" not in body


def test_f45_result(api, job):
    answer = api.get(job["body"]["response_url"])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert body["status"] == "COMPLETED" and body["request_id"] == job["body"]["request_id"]
    output = body["output"]
    assert isinstance(output, str) and urlsplit(output).scheme in ("http", "https") and output.startswith(api.base)
    assert "/requests/" not in output and "/request/" not in output
    assert output.endswith(".webp")
    assert len(body["images"]) == 1 and body["images"][0]["url"] == output
    assert isinstance(body["metrics"]["inference_time"], (int, float))
    assert body["seed"] == "7", "the seed is a string on image models"
    assert "error" not in body


def test_f46_output_needs_no_key(api, job):
    image = api.get(job["body"]["response_url"]).json()["images"][0]
    answer = api.get(image["url"], headers={})
    picture = image_of(answer, "webp")
    assert image["content_type"] == "image/webp"
    assert image["file_name"] == image["url"].rsplit("/", 1)[1]
    assert str(len(picture)) == str(image["file_size"])
    assert len(re.sub(r"\.\w+$", "", image["file_name"])) >= 22, "128 random bits take 22 characters of base64"


def test_f47_poll_url(api, job):
    answer = api.get(job["body"]["poll_url"])
    assert answer.status_code == 200
    body, result = answer.json(), api.get(job["body"]["response_url"]).json()
    assert body["status"] == "COMPLETED" and body["output"] == result["output"]


def test_f48_reading_changes_nothing(api, job):
    assert len({api.get(job["body"]["response_url"]).content for _ in range(3)}) == 1


def test_f49_v2_gives_the_picture_of_v1(api):
    result = api.result(output_format="png")
    by_v2 = image_of(api.get(result["output"], headers={}), "png")
    assert pictures.pixels(by_v2) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def test_f50_intermediates(api):
    result = api.result(return_intermediate_images=True, output_format="png")
    assert isinstance(result["output"], str)
    images = result["images"]
    assert len(images) >= 2 and images[0]["url"] == result["output"]
    names = [image["name"] for image in images]
    order = ["output", "mask", "subject_grey", "depth", "lineart", "material"]
    assert names[0] == "output" and "mask" in names
    # C.4 fixes the order of the six names that the upstream model has. It says nothing of stages that only another
    # engine has, so further names may stand among them; no name may come twice.
    known = [name for name in names if name in order]
    assert known == sorted(known, key=order.index), "the upstream order of C.4"
    assert len(set(names)) == len(names)
    for image in images:
        picture = image_of(api.get(image["url"], headers={}), "png")
        assert str(len(picture)) == str(image["file_size"])


def test_f51_failure(api, host):
    job = api.submit(subject_image=host("/missing.png"))
    status = api.wait(job)
    assert status.json()["status"] == "FAILED"
    text = error_of(status, 422)
    result = api.get(job["response_url"])
    assert result.json()["status"] == "FAILED" and error_of(result, 422) == text
    poll = api.get(job["poll_url"])
    assert poll.json()["status"] == "FAILED" and error_of(poll, 422) == text
    assert "subject_image" in text
    metrics = status.json()["metrics"]
    assert "cost" not in metrics and "remaining_credits" not in metrics, "omitted on failure"


def test_f52_invalid_body(api):
    # B.5: refused at once by default; in the late mode accepted and then FAILED.
    answer = api.v2(material_image=...)
    text = error_of(answer, 400) if answer.status_code != 200 else error_of(api.wait(answer.json()), 422)
    assert "material_image" in text


def test_f53_no_key(stranger):
    error_of(stranger.v2(), 401)


def test_f54_unknown_model(api):
    error_of(api.post("/v2/no-such-model", ok()), 404)


@pytest.mark.parametrize("path", [f"/v2/requests/{NOBODY}/status", f"/v2/requests/{NOBODY}", f"/v1/requests/{NOBODY}"])
def test_f55_unknown_id(api, path):
    answer = api.get(path)
    assert error_of(answer, 404) == f"Request {NOBODY} not found"
    assert "status" not in answer.json()


def test_f56_the_key_is_checked_before_the_id(api, keys):
    error_of(Api(api.base, keys["bad-key"]).get(f"/v2/requests/{NOBODY}/status"), 401)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/requests/not-a-uuid",
        "/v2/requests/%2e%2e%2fx/status",
        "/v2/requests/%00",
        "/v2/requests/%ff/status",
        "/v2/requests/..%2f..%2fv1",
    ],
)
def test_f57_ids_that_are_none(api, path):
    error_of(by_hand(exchange(api.base, "GET", path, api.headers())), 404)


def test_f58_another_key_sees_nothing(api2, job):
    for url in ("status_url", "response_url", "poll_url"):
        text = error_of(api2.get(job["body"][url]), 404)
        assert text == f"Request {job['body']['request_id']} not found", "as if it had never been"


def test_f59_wrong_methods(api, job):
    answer = api.request("POST", job["body"]["status_url"])
    error_of(answer, 405)
    assert "GET" in answer.headers["allow"].upper()


def test_f59_put_on_response_url(api):
    job = api.submit()
    answer = api.request("PUT", job["response_url"])
    error_of(answer, 405)
    assert {"GET", "DELETE"} <= set(answer.headers["allow"].upper().replace(" ", "").split(","))
    assert api.request("DELETE", job["response_url"]).status_code == 204
    error_of(api.request("DELETE", job["response_url"]), 404)
