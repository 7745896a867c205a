"""F-21 … F-40: keys, slugs, methods, bodies and parameters that are refused, each with its one answer."""

import base64
from pathlib import Path

import pytest

import pictures
from client import MODEL, Api, by_hand, error_of, image_of, ok
from wire import exchange

PATH = f"/v1/{MODEL}"


def test_f21_no_key(stranger):
    error_of(stranger.v1(), 401)


def test_f22_wrong_key(api, keys):
    error_of(Api(api.base, keys["bad-key"]).v1(), 401)


def test_f23_bearer_is_no_key(api):
    error_of(api.post(PATH, ok(), headers={"Authorization": f"Bearer {api.key}"}), 401)


def test_f24_unknown_model(api):
    error_of(api.post("/v1/no-such-model", ok()), 404)


def test_f25_the_key_is_checked_before_the_slug(api, keys):
    error_of(Api(api.base, keys["bad-key"]).post("/v1/no-such-model", ok()), 401)


def test_f26_get_is_not_allowed(api):
    answer = api.get(PATH)
    error_of(answer, 405)
    assert "POST" in answer.headers["allow"].upper()


def test_f27_empty_body(api):
    error_of(api.post_text(PATH, ""), 400)


def test_f28_cut_off_json(api):
    error_of(api.post_text(PATH, '{"a":'), 400)


@pytest.mark.parametrize("body", ["[]", '"x"', "null"])
def test_f29_json_that_is_no_object(api, body):
    error_of(api.post_text(PATH, body), 400)


def test_f30_text_plain(api):
    text = error_of(api.post_text(PATH, '{"steps":1}', "text/plain"), 406)
    assert "credit" not in text.lower()


def test_f31_no_content_type(api):
    answer = exchange(api.base, "POST", PATH, api.headers(), b'{"steps":1}')
    text = error_of(by_hand(answer), 406)
    assert "credit" not in text.lower()


def test_f32_material_image_is_required(api):
    assert "material_image" in error_of(api.v1(material_image=...), 400)


@pytest.mark.parametrize("given", ["", None, 5, []], ids=repr)
def test_f33_subject_image_has_to_be_a_picture(api, given):
    assert "subject_image" in error_of(api.v1(subject_image=given), 400)


@pytest.mark.parametrize("given", [0.99, 10.01, "abc", True])
def test_f34_guidance_scale_refused(api, given):
    assert "guidance_scale" in error_of(api.v1(guidance_scale=given), 400)


@pytest.mark.parametrize("given", [1, 10, 2.5, "2.5"])
def test_f35_guidance_scale_accepted(api, given):
    image_of(api.v1(guidance_scale=given))


@pytest.mark.parametrize("given", [-1, 101, 80.5])
def test_f36_output_quality_refused(api, given):
    assert "output_quality" in error_of(api.v1(output_quality=given), 400)


@pytest.mark.parametrize("given", [0, -1, 6.5, "x"])
def test_f37_steps_refused(api, given):
    assert "steps" in error_of(api.v1(steps=given), 400)


@pytest.mark.parametrize("field, given", [("material_strength", "weak"), ("output_format", "gif")])
def test_f38_enums_refused(api, field, given):
    assert field in error_of(api.v1(**{field: given}), 400)


@pytest.mark.parametrize("given", [0, -5, 1])
def test_f39_max_width_refused(api, given):
    assert "max_width" in error_of(api.v1(max_width=given), 400)


UNREADABLE = {
    "base64 of text": base64.b64encode(b"this is no picture, whatever the field says").decode(),
    "truncated png": pictures.data_uri(pictures.SUBJECT[: len(pictures.SUBJECT) // 2]),
    "file url": "file:///etc/hostname",
}


@pytest.mark.parametrize("given", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_f40_unreadable_subject(api, given):
    text = error_of(api.v1(subject_image=given), 400)
    assert "subject_image" in text
    secret = Path("/etc/hostname").read_text().strip()
    assert not secret or secret not in text


def test_f40_subject_url_that_answers_404(api, host):
    assert "subject_image" in error_of(api.v1(subject_image=host("/missing.png")), 400)
