"""F-01 … F-20: the blocking call, its formats, sizes, inputs and coercions."""

import base64
import json

import pytest

import pictures
from client import MODEL, image_of, ok

PATH = f"/v1/{MODEL}"


def test_f01_webp_is_the_default(api):
    image_of(api.v1(), "webp")


def test_f02_headers_of_a_success(api):
    answer = api.v1()
    image_of(answer)
    headers = answer.headers
    assert float(headers["x-remaining-credits"]) > 0, "0 makes some clients warn of a low balance"
    assert headers["x-request-id"]
    assert float(headers["x-generation-time"]) > 0
    assert headers["x-seed-value"] == "7"
    # A.2 says SHOULD for these two; this product sends them.
    assert float(headers["x-cost"]) == 0
    size = pictures.opened(answer.content).size
    about = json.loads(headers["x-output-metadata"])
    assert (about["width"], about["height"]) == size
    assert about["format"] == "webp" and int(about["seed"]) == 7


def test_f03_jpg(api):
    image_of(api.v1(output_format="jpg"), "jpg")


def test_f04_png(api):
    image_of(api.v1(output_format="png"), "png")


def test_f05_same_seed_same_picture(api):
    first = image_of(api.v1(output_format="png"), "png")
    again = image_of(api.v1(output_format="png"), "png")
    assert pictures.pixels(first) == pictures.pixels(again)
    # Guards the test itself: a server that returns the subject untouched would pass the line above.
    assert pictures.pixels(first) != pictures.pixels(pictures.SUBJECT)


def test_f06_random_seed_is_reported_and_replays(api):
    answer = api.v1(output_format="png", seed=...)
    first = image_of(answer, "png")
    seed = int(answer.headers["x-seed-value"])
    again = api.v1(output_format="png", seed=seed)
    assert again.headers["x-seed-value"] == str(seed)
    assert pictures.pixels(first) == pictures.pixels(image_of(again, "png"))


def test_f06_random_seeds_differ(api):
    seeds = {api.v1(seed=...).headers["x-seed-value"] for _ in range(3)}
    assert len(seeds) == 3, f"an absent seed has to be random: {seeds}"


@pytest.mark.parametrize("form", ["jpg", "webp"])
def test_f07_quality_changes_the_size(api, form):
    coarse = image_of(api.v1(output_format=form, output_quality=5), form)
    fine = image_of(api.v1(output_format=form, output_quality=95), form)
    assert len(coarse) < len(fine)


def test_f08_fits_the_box_and_keeps_the_aspect(api):
    subject = pictures.data_uri(pictures.encoded(pictures.subject_picture(400, 200)))
    width, height = pictures.opened(image_of(api.v1(subject_image=subject))).size
    assert width <= 128 and height <= 128
    # B.2 allows up to 7 pixels a side for networks that need multiples of 8.
    assert width / height == pytest.approx(2, rel=0.15)
    assert width > 128 - 8


def test_f09_never_enlarges(api):
    width, height = pictures.opened(image_of(api.v1(max_width=100000, max_height=...))).size
    assert width <= 160 and height <= 96
    assert width > 160 - 8 and height > 96 - 8


def test_f10_pictures_by_url(api, host):
    first = len(host.requests)
    answer = api.v1(material_image=host("/material.png"), subject_image=host("/subject.png"), output_format="png")
    by_url = image_of(answer, "png")
    assert pictures.pixels(by_url) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))
    asked = host.requests[first:]
    assert {path for path, _ in asked} == {"/material.png", "/subject.png"}
    for _, headers in asked:
        assert api.key not in str(headers), "the client's key was passed on to the picture's host"


def test_f11_raw_base64(api):
    raw = api.v1(
        material_image=base64.b64encode(pictures.MATERIAL).decode(),
        subject_image=base64.b64encode(pictures.SUBJECT).decode(),
        output_format="png",
    )
    assert pictures.pixels(image_of(raw, "png")) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def text_fields(**more: str) -> dict[str, str]:
    return {"steps": "1", "seed": "7", "max_width": "128", "max_height": "128", "output_format": "png", **more}


def test_f12_multipart_with_file_parts(api):
    files = {
        "material_image": ("material.png", pictures.MATERIAL, "image/png"),
        "subject_image": ("subject.png", pictures.SUBJECT, "image/png"),
    }
    got = image_of(api.request("POST", PATH, data=text_fields(), files=files), "png")
    assert pictures.pixels(got) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def test_f12_multipart_with_url_strings(api, host):
    fields = text_fields(material_image=host("/material.png"), subject_image=host("/subject.png"))
    parts = {name: (None, value) for name, value in fields.items()}
    got = image_of(api.request("POST", PATH, files=parts), "png")
    assert pictures.pixels(got) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def test_f12_multipart_with_base64_strings(api):
    fields = text_fields(material_image=base64.b64encode(pictures.MATERIAL).decode(), subject_image=pictures.S)
    parts = {name: (None, value) for name, value in fields.items()}
    got = image_of(api.request("POST", PATH, files=parts), "png")
    assert pictures.pixels(got) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def test_f12_multipart_on_v2(api):
    files = {"material_image": ("m.png", pictures.MATERIAL), "subject_image": ("s.png", pictures.SUBJECT)}
    answer = api.request("POST", f"/v2/{MODEL}", data=text_fields(return_intermediate_images="true"), files=files)
    assert answer.status_code == 200, answer.text
    assert api.wait(answer.json()).json()["status"] == "COMPLETED"
    assert len(api.get(answer.json()["response_url"]).json()["images"]) >= 2, "the text 'true' is a boolean in a form"


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/plain, */*", "text/html"])
def test_f13_accept_is_ignored(api, accept):
    image_of(api.post(PATH, ok(), headers=api.headers(accept=accept)))


def test_f14_base64_answer(api):
    answer = api.v1(base64=True, output_format="png")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    picture = base64.b64decode(body["image"], validate=True)
    assert pictures.pixels(picture) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))
    assert answer.headers["x-seed-value"] == "7" and answer.headers["x-remaining-credits"]


def test_f14_base64_false_is_the_plain_answer(api):
    image_of(api.v1(base64=False))


def test_f15_numbers_as_strings(api):
    texts = api.v1(
        steps="1", seed="7", max_width="128", max_height=" 128 ", guidance_scale="2.0", output_quality="80.0"
    )
    assert image_of(texts) == image_of(api.v1())


def test_f16_whole_number_with_a_point(api):
    text = json.dumps(ok()).replace('"steps": 1,', '"steps": 1.0,')
    assert '"steps": 1.0' in text
    assert image_of(api.post_text(PATH, text)) == image_of(api.v1())


def test_f17_unknown_parameters_are_ignored(api):
    assert image_of(api.v1(foo=1, timeout=5, samples="1", interval=None)) == image_of(api.v1())


def test_f18_empty_and_null(api):
    image_of(api.v1(prompt="", negative_prompt=None, seed=None))


def test_f19_big_seed(api):
    answer = api.v1(seed=17123564234, output_format="png")
    first = image_of(answer, "png")
    reported = int(answer.headers["x-seed-value"])
    again = image_of(api.v1(seed=reported, output_format="png"), "png")
    assert pictures.pixels(first) == pictures.pixels(again)


def test_f20_intermediates_on_v1_leave_one_image_body(api):
    answer = api.v1(return_intermediate_images=True)
    final = image_of(answer)
    assert pictures.pixels(final) == pictures.pixels(image_of(api.v1()))
    # C.4: the addresses of all of them, the final one first.
    urls = json.loads(answer.headers["x-output-metadata"])["images"]
    assert len(urls) >= 2
    for url in urls:
        picture = api.get(url, headers={})
        assert picture.status_code == 200
        pictures.opened(picture.content)
    assert api.get(urls[0], headers={}).content == final
