"""All 51 rows of B.6, each input on v1 and on v2, with the wording of the error texts; and with late validation."""

import re

import pytest

import pictures
from client import MODEL, error_of, image_of, ok
from edge_cases import CASES, ELSEWHERE, FAILED, NOT_TO_BE_HAD, REFUSED_OR_FAILED, Case
from picture_host import ENDLESS_STOPS_AT


@pytest.fixture(scope="module")
def site(request, api):
    """The picture site with the bomb; taken only by the cases that need one."""

    def get():
        host = request.getfixturevalue("host")
        if "/bomb.png" not in host.pages:
            host.pages["/bomb.png"] = ("image/png", pictures.png_of_zeros(30000, 30000))
        return host

    return get


def send(api, case: Case, version: str, site):
    path = f"/{version}/{MODEL}"
    if case.raw is not None:
        return api.post_text(path, case.raw, case.media)
    base = site().base if case.needs_host() else ""
    changes = {
        name: value.replace("{host}", base) if isinstance(value, str) else value for name, value in case.changes.items()
    }
    return api.post(path, ok(**changes))


def worded(text: str, case: Case, any_wording: bool) -> None:
    """B.6 gives the texts as examples; this product promises them. Another server needs only to name the field."""
    if any_wording:
        name = case.text.split(":")[0]
        assert not name.isidentifier() or name in text, text
    else:
        assert re.fullmatch(case.text, text), f"{text!r} is not worded as {case.text!r}"
    if 406 in (case.v1, case.v2):
        assert "credit" not in text.lower()


@pytest.mark.parametrize("case", CASES, ids=Case.name)
def test_b6_v1(api, case, site, any_wording):
    answer = send(api, case, "v1", site)
    if case.v1 == 200:
        image_of(answer, case.changes.get("output_format", "webp"))
    else:
        worded(error_of(answer, case.v1), case, any_wording)


@pytest.mark.parametrize("case", CASES, ids=Case.name)
def test_b6_v2(api, case, site, any_wording):
    answer = send(api, case, "v2", site)
    if case.v2 == 200:
        assert answer.status_code == 200, answer.text
        assert api.wait(answer.json()).json()["status"] == "COMPLETED"
    elif case.v2 == FAILED or (case.v2 == REFUSED_OR_FAILED and answer.status_code == 200):
        assert answer.status_code == 200, answer.text
        worded(error_of(api.wait(answer.json()), 422), case, any_wording)
    else:
        worded(error_of(answer, 400 if case.v2 == REFUSED_OR_FAILED else case.v2), case, any_wording)


# Row 2 is about bytes that are no JSON, which B.5's switch leaves alone: it begins with row 7.
LATE = [case for case in CASES if case.v2 == 400 and case.row >= 7]


@pytest.mark.parametrize("case", LATE, ids=Case.name)
def test_b5_late_validation(special, case, site, any_wording):
    """The switch of B.5: what v2 refuses with 400 from row 7 on becomes 200 and then FAILED with the same text."""
    api = special("late")
    answer = send(api, case, "v2", site)
    assert answer.status_code == 200, answer.text
    worded(error_of(api.wait(answer.json()), 422), case, any_wording)


@pytest.mark.parametrize("row", sorted(NOT_TO_BE_HAD))
def test_b6_rows_that_no_request_brings_about(row):
    pytest.skip(f"row {row}: {NOT_TO_BE_HAD[row]}")


def test_b6_every_row_is_covered():
    assert {case.row for case in CASES} | ELSEWHERE | set(NOT_TO_BE_HAD) == set(range(1, 52))


def test_b6_row_21_quality_means_nothing_to_png(api):
    assert len({image_of(api.v1(output_format="png", output_quality=quality), "png") for quality in (0, 100)}) == 1


def test_b6_row_23_no_enlargement(api):
    width, height = pictures.opened(image_of(api.v1(max_width=100000, max_height=100000))).size
    assert width <= 160 and height <= 96


@pytest.mark.parametrize("seed", [None, ..., -1, "-1"], ids=repr)
def test_b6_row_29_random_seed_is_reported(api, seed):
    seeds = {int(api.v1(seed=seed).headers["x-seed-value"]) for _ in range(2)}
    assert len(seeds) == 2 and min(seeds) >= 0


@pytest.mark.parametrize("seed", [0, 17123564234, 10**16, "10000000000000000"])
def test_b6_rows_30_31_seeds_replay(api, seed):
    first = api.v1(seed=seed, output_format="png")
    reported = first.headers["x-seed-value"]
    if seed == 0:
        assert reported == "0", "0 is a seed like any other"
    again = api.v1(seed=reported, output_format="png")
    assert pictures.pixels(image_of(first, "png")) == pictures.pixels(image_of(again, "png"))


@pytest.mark.parametrize("given", ["true", 1, "True", "1", True])
def test_b6_row_33_means_true(api, given):
    assert len(api.result(return_intermediate_images=given)["images"]) >= 2


@pytest.mark.parametrize("given", ["false", 0, "0", False, None, ...], ids=repr)
def test_b6_row_33_means_false(api, given):
    assert len(api.result(return_intermediate_images=given)["images"]) == 1


def test_b6_row_36_base64_is_ignored_on_v2(api):
    result = api.result(base64=True)
    assert result["output"].startswith("http") and "image" not in result
    image_of(api.get(result["output"], headers={}))


def test_b6_row_44_the_download_is_cut_off(api, host):
    host.endless_sent.clear()
    error_of(api.v1(subject_image=host("/endless.png")), 400)
    assert host.endless_sent and host.endless_sent[0] < ENDLESS_STOPS_AT // 2


@pytest.mark.parametrize("kind", ["gif", "animated gif", "apng"])
def test_b6_row_45_first_frame(api, kind):
    file = pictures.unusual_pictures()[kind]
    still = pictures.encoded(pictures.opened(file).convert("RGB"))
    frame, first = (
        image_of(api.v1(subject_image=pictures.data_uri(data), output_format="png"), "png") for data in (file, still)
    )
    assert pictures.pixels(frame) == pictures.pixels(first)


def test_b6_row_46_rotation_comes_before_sizing(api):
    uri = pictures.data_uri(pictures.rotated_jpeg(), "image/jpeg")
    width, height = pictures.opened(image_of(api.v1(subject_image=uri))).size
    assert 80 - 8 < width <= 80 and 128 - 8 < height <= 128


def test_a11_order_of_checks(api, stranger):
    """A.11: of several faults the first in the order answers."""
    bad_body = {"steps": 0}
    assert stranger.post("/v1/no-such-path/at/all", bad_body).status_code == 404
    assert stranger.get(f"/v1/{MODEL}").status_code == 405
    assert stranger.post("/v1/no-such-model", bad_body).status_code == 401
    assert api.post_text("/v1/no-such-model", "x", "text/plain").status_code == 404
    assert (
        stranger.request("POST", f"/v1/{MODEL}", headers={"content-type": "text/plain"}, content=b"x").status_code
        == 401
    )
    assert api.post_text(f"/v1/{MODEL}", "{", "text/plain").status_code == 406


def test_b4_the_first_bad_field_is_named(api):
    """B.4: one sentence about one field; a list of all may stand in `details`."""
    answer = api.v1(guidance_scale=0, steps=0, output_format="gif")
    text = error_of(answer, 400)
    assert re.match(r"(guidance_scale|steps|output_format): ", text)
    for item in answer.json().get("details", []):
        assert isinstance(item["field"], str) and isinstance(item["message"], str)
