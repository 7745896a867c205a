"""Programs on Node: its own fetch, axios, and the habits of clients seen in the wild (F.3)."""

import base64

import pytest

import pictures
from client import image_of, ok
from material_server import BAD_KEY, KEY, KEY2

RAW = {
    "material_image": base64.b64encode(pictures.MATERIAL).decode(),
    "subject_image": base64.b64encode(pictures.SUBJECT).decode(),
}
FIELDS = {"steps": 1, "seed": 7, "max_width": 128, "max_height": 128, "output_format": "png"}


@pytest.fixture(scope="module")
def expected(api):
    """The pixels of the small valid body."""
    return pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def pixels(text: str):
    return pictures.pixels(base64.b64decode(text))


def test_fetch_v1(node, server, expected):
    report = node("fetch-v1", server.base, KEY, given=ok(output_format="png"))
    assert report["status"] == 200 and report["headers"]["content-type"] == "image/png"
    assert pixels(report["body"]) == expected


def test_fetch_poller(node, server, expected):
    report = node("fetch-poller", server.base, KEY, given=ok(output_format="png"))
    assert report["states"][-1] == "COMPLETED" and set(report["states"]) <= {"QUEUED", "PROCESSING", "COMPLETED"}
    assert report["type"].startswith("application/json")
    assert pixels(report["picture"]) == expected


def test_fetch_poller_failure(node, server, host):
    report = node("fetch-poller", server.base, KEY, given=ok(subject_image=host("/missing.png")))
    assert report["failed"] == "subject_image: could not be downloaded (HTTP 404)"


def test_fetch_poller_refusal(node, server):
    report = node("fetch-poller", server.base, KEY, given=ok(steps=0))
    assert report == {"refused": 400, "error": "steps: must be at least 1"}


def test_axios_arraybuffer(node, server):
    report = node("axios-arraybuffer", server.base, KEY, given={**RAW, "max_width": "128", "max_height": "128"})
    assert report["status"] == 200 and report["headers"]["content-type"] == "image/webp"
    pictures.opened(base64.b64decode(report["body"]))


def test_axios_arraybuffer_error(node, server):
    report = node("axios-arraybuffer", server.base, KEY, given={**RAW, "material_strength": "weak"})
    assert report == {"status": 400, "error": "material_strength: must be one of medium, strong"}


@pytest.mark.parametrize("form", ["files", "base64", "urls"])
def test_axios_form_data(node, server, host, expected, form):
    urls = {"material_image": host("/material.png"), "subject_image": host("/subject.png")}
    given = {
        "files": RAW if form == "files" else {},
        "fields": {**FIELDS, **{"files": {}, "base64": RAW, "urls": urls}[form]},
    }
    report = node("axios-form-data", server.base, KEY, given=given)
    assert report["status"] == 200 and report["type"] == "image/png"
    assert pixels(report["body"]) == expected


def test_js_package(node, server, expected):
    report = node("js-package", server.base, KEY, given=ok(output_format="png"))
    assert report["status"] == 200 and report["type"] == "image/png"
    assert pixels(report["body"]) == expected


@pytest.mark.parametrize("key, verdict", [(KEY, "good"), (KEY2, "good"), (BAD_KEY, "bad"), ("", "bad")])
def test_key_probe(node, server, key, verdict):
    assert node("key-probe", server.base, key)["verdict"] == verdict


def test_rotator(node, server):
    report = node("rotator", server.base, given={"keys": [BAD_KEY, "", KEY], "body": ok()})
    assert [one["status"] for one in report["tried"]] == [401, 401, 200]
    assert all(isinstance(one["reason"], str) for one in report["tried"][:2])
    assert report["outcome"]["state"] == "COMPLETED" and report["outcome"]["output"].startswith(server.base)


def test_rotator_leaves_a_spent_key(node, spent):
    """406 sends it on to the next key; on this server there is only the one whose credits are gone."""
    report = node("rotator", spent.base, given={"keys": [KEY, KEY], "body": ok()})
    assert [one["status"] for one in report["tried"]] == [406, 406] and "credits" in report["tried"][0][
        "reason"
    ].lower()


def test_rotator_failure(node, server, host):
    report = node("rotator", server.base, given={"keys": [KEY], "body": ok(subject_image=host("/missing.png"))})
    # It reads only `message` of a 422, which the server MAY mirror (F.3 row 13); `error` is there in any case.
    assert report["outcome"]["state"] == "FAILED"
    assert report["outcome"]["error"] == "subject_image: could not be downloaded (HTTP 404)"
    assert report["outcome"]["reason"] in (None, report["outcome"]["error"])


def test_poll_url(node, server, expected):
    report = node("poll-url", server.base, KEY, given=ok(output_format="png"))
    assert report["type"] == "image/png"
    assert pixels(report["body"]) == expected
