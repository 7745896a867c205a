"""F-76 … F-78: credits used up, too many calls, a v1 deadline; and a key that lacks the permission (403)."""

import re
import time

import pytest

import workload
from client import MODEL, Api, by_hand, error_of, image_of, ok
from wire import exchange


@pytest.fixture(scope="module")
def spent(special):
    """A key with one credit: its first call, then its second on either version."""
    api = special("quota")
    return {"api": api, "first": api.v1(), "v1": api.v1(), "v2": api.v2()}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_f76_credits_used_up(spent, version):
    image_of(spent["first"])
    assert "credits" in error_of(spent[version], 406).lower()


def test_f76_polling_and_asking_cost_nothing(spent):
    api = spent["api"]
    error_of(api.get("/v2/requests/00000000-0000-0000-0000-000000000000/status"), 404)
    credits = api.get("/v1/get-user-credits")
    assert credits.status_code == 200 and credits.json()["credits"] == 0


def test_f76_the_other_406_is_told_apart(spent):
    """A.11: credits are a matter of the key, but the text alone tells the two meanings of 406 apart."""
    answer = by_hand(exchange(spent["api"].base, "POST", f"/v1/{MODEL}", spent["api"].headers(), b"x"))
    error_of(answer, 406)


def test_f77_burst(special):
    api = special("rate")
    answers = [api.v2() for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused, [answer.status_code for answer in answers]
    for answer in refused:
        error_of(answer, 429)
        assert re.fullmatch(r"[1-9]\d*", answer.headers["retry-after"]), "whole seconds, never a date"
        stamp = answer.headers["x-rate-limit-reset-at-utc"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", stamp), stamp
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert accepted
    # A.5: polls are free; a key that used up its calls can still fetch what it asked for.
    for answer in accepted:
        assert api.wait(answer.json()).json()["status"] == "COMPLETED"


@pytest.mark.timeout(400)
def test_f78_v1_deadline(special):
    api = special("deadline")
    # With v2 the length of the job does not matter; so it is measured there.
    changes, _ = workload.job_of_at_least(api, 2.5)
    begun = time.monotonic()
    answer = api.v1(**changes)
    seconds = time.monotonic() - begun
    error_of(answer, 504)
    assert 0.9 < seconds < 2.5, f"answered after {seconds:.1f} s"
    ident = answer.json()["request_id"]
    # C.5: the id is in the body so that the picture can still be fetched.
    ended = api.wait({"status_url": f"/v2/requests/{ident}/status"})
    assert ended.json()["status"] == "COMPLETED"
    image_of(Api(api.base).get(api.get(f"/v2/requests/{ident}").json()["output"], headers={}))


@pytest.mark.parametrize("key", ["key", "key2"])
def test_no_permission(special, keys, key):
    """(d): keys that exist but may not use the model (the second may only read); they are still good keys elsewhere."""
    api = Api(special("restricted").base, keys[key])
    for version in ("v1", "v2"):
        error_of(api.post(f"/{version}/{MODEL}", ok()), 403)
    error_of(api.get("/v2/requests/00000000-0000-0000-0000-000000000000/status"), 404)


def test_open_server(special):
    """A.10: with no keys configured any key will do, and so will none."""
    api = special("open")
    image_of(api.v1())
    image_of(Api(api.base).v1())
    job = Api(api.base).submit()
    assert Api(api.base).wait(job).json()["status"] == "COMPLETED"
