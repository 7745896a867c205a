"""What this server adds to the hosted model's parameters: masks, several materials, blends, weights, marks of provenance."""

import json
import shutil
import subprocess

import pytest
from PIL import Image, ImageDraw

import pictures
from client import image_of, ok

SIZE = (96, 96)


def mask(box, size=SIZE) -> str:
    """White inside a box that is given in shares of the sides."""
    picture = Image.new("L", size, 0)
    ImageDraw.Draw(picture).rectangle([share * side for share, side in zip(box, size * 2)], fill=255)
    return pictures.data_uri(pictures.encoded(picture))


def subject(size=SIZE) -> Image.Image:
    picture = Image.new("RGB", size)
    picture.putdata([(40 + x, 90 + y, 120) for y in range(size[1]) for x in range(size[0])])
    return picture


def plain(colour) -> str:
    return pictures.data_uri(pictures.encoded(Image.new("RGB", (80, 80), colour)))


def body(**more) -> dict:
    given = ok(subject_image=pictures.data_uri(pictures.encoded(subject())), output_format="png")
    return {**given, **more}


def result(api, **more) -> Image.Image:
    answer = api.v1(**body(**more))
    assert answer.status_code == 200, answer.text
    return pictures.opened(image_of(answer, "png")).convert("RGB")


def apart(a: Image.Image, b: Image.Image, at) -> int:
    return max(abs(x - y) for x, y in zip(a.getpixel(at), b.getpixel(at)))


def test_a_given_mask_and_what_lies_outside_it(api):
    made = result(api, subject_mask=mask((0.1, 0.1, 0.5, 0.9), (192, 192)), material_image=plain((200, 30, 30)))
    assert apart(made, subject(), (28, 48)) > 40
    outside = [(x, y) for x in range(60, 96) for y in range(96)]
    assert max(apart(made, subject(), at) for at in outside) == 0


def test_two_masks_with_a_material_each(api):
    given = body(
        masks=[mask((0.05, 0.1, 0.6, 0.9)), mask((0.4, 0.1, 0.95, 0.9))],
        materials=[plain((200, 30, 30)), plain((30, 170, 40))],
    )
    del given["material_image"]
    answer = api.post("/v1/material-transfer", given)
    assert answer.status_code == 200, answer.text
    made = pictures.opened(image_of(answer, "png")).convert("RGB")
    red, both, green = (made.getpixel((x, 48)) for x in (18, 47, 78))
    assert red[0] > red[1] + 40 and green[1] > green[0] + 40
    assert both[1] > both[0] + 40, "the later one wins where they overlap"


def test_masks_that_do_not_fit_are_refused_by_name(api):
    answer = api.v1(**body(subject_mask=mask((0, 0, 1, 1), (96, 64))))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("subject_mask: 96×64 pixels are not of the subject's shape (96×96)")
    answer = api.v1(**body(masks=[mask((0, 0, 1, 1))], materials=[plain((1, 2, 3))] * 2))
    assert answer.status_code == 400 and answer.json()["error"].startswith("materials: one for each of masks")
    answer = api.v1(**body(masks=[mask((0, 0, 1, 1)), "nonsense"]))
    assert answer.json()["error"] == "masks: number 2: not a readable image"


def test_a_form_with_masks(api):
    picture = pictures.encoded(Image.new("RGB", (80, 80), (20, 20, 200)))
    parts = [
        ("subject_image", ("s.png", pictures.encoded(subject()), "image/png")),
        *[("masks[]", ("m.png", pictures.encoded(Image.new("L", SIZE, value)), "image/png")) for value in (0, 255)],
        *[("materials[]", ("n.png", picture, "image/png"))] * 2,
    ]
    answer = api.request("POST", "/v1/material-transfer", files=parts, data={"output_format": "png"})
    assert answer.status_code == 200, answer.text
    notes = json.loads(answer.headers["x-output-metadata"])["notes"]
    assert any(note.startswith("masks[0] shows nothing") for note in notes), notes


def test_weight_and_blend_go_steadily_from_end_to_end(api):
    where = {"subject_mask": mask((0.1, 0.1, 0.9, 0.9))}
    weighed = [result(api, **where, material_image=plain((200, 30, 30)), material_weight=w) for w in (0, 0.5, 1)]
    assert weighed[0].tobytes() == subject().tobytes()
    assert apart(weighed[2], weighed[0], (48, 48)) > apart(weighed[1], weighed[0], (48, 48)) > 10
    two = {**where, "material_image": plain((200, 30, 30)), "blend_image": plain((30, 30, 200))}
    reds = [result(api, **two, material_blend=t).getpixel((48, 48))[0] for t in (0, 0.5, 1)]
    assert reds[0] > reds[1] > reds[2]


@pytest.mark.parametrize("kind", ["webp", "jpg", "png"])
def test_every_file_says_that_a_machine_made_it(api, kind, tmp_path):
    if not shutil.which("exiftool"):
        pytest.skip("no exiftool: apt-get install libimage-exiftool-perl")
    for wanted in (True, False):
        answer = api.v1(**ok(output_format=kind, provenance=wanted))
        file = tmp_path / f"{wanted}.{kind}"
        file.write_bytes(image_of(answer, kind))
        told = subprocess.run(["exiftool", "-json", "-validate", "-XMP:all", file], capture_output=True, check=True)
        [told] = json.loads(told.stdout)
        assert told["Validate"] == "OK"
        if wanted:
            assert told["DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
            assert told["Profile"] == "exemplar" and str(told["Seed"]) == answer.headers["x-seed-value"]
        else:
            assert "DigitalSourceType" not in told
    again = [image_of(api.v1(**ok(output_format=kind, seed=5)), kind) for _ in range(2)]
    assert again[0] == again[1], "there is no clock in it"
