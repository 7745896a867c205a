"""The table of B.3, cell by cell. An accepted value has to give the very bytes that the plain value gives."""

import json

import pytest

from client import MODEL, error_of, image_of, ok

REFUSED = object()
DEFAULT = object()
AS_TEXT = object()

# JSON given: integer, number, boolean, string
TABLE = {
    "6": (6, 6.0, REFUSED, REFUSED),
    "0": (None, None, False, REFUSED),
    "1": (1, 1.0, True, REFUSED),
    "6.0": (6, 6.0, REFUSED, REFUSED),
    "6e0": (6, 6.0, REFUSED, REFUSED),
    "6.5": (REFUSED, 6.5, REFUSED, REFUSED),
    '"6"': (6, 6.0, REFUSED, AS_TEXT),
    '" 6 "': (6, 6.0, REFUSED, AS_TEXT),
    '"1"': (1, 1.0, True, AS_TEXT),
    '"0"': (None, None, False, AS_TEXT),
    '"6.0"': (6, 6.0, REFUSED, AS_TEXT),
    '"six"': (REFUSED, REFUSED, REFUSED, AS_TEXT),
    '""': (REFUSED, REFUSED, REFUSED, AS_TEXT),
    "true": (REFUSED, REFUSED, True, REFUSED),
    "false": (REFUSED, REFUSED, False, REFUSED),
    '"true"': (REFUSED, REFUSED, True, AS_TEXT),
    '"TRUE"': (REFUSED, REFUSED, True, AS_TEXT),
    '"False"': (REFUSED, REFUSED, False, AS_TEXT),
    "null": (DEFAULT, DEFAULT, DEFAULT, DEFAULT),
    "[]": (REFUSED, REFUSED, REFUSED, REFUSED),
    "[6]": (REFUSED, REFUSED, REFUSED, REFUSED),
    "{}": (REFUSED, REFUSED, REFUSED, REFUSED),
    "NaN": (REFUSED, REFUSED, REFUSED, REFUSED),
    "Infinity": (REFUSED, REFUSED, REFUSED, REFUSED),
    "-Infinity": (REFUSED, REFUSED, REFUSED, REFUSED),
}
# Zero is out of range for these integer and number fields (B.6 says so), hence None: not a matter of this table.
FIELDS = {
    "steps": 0,
    "output_quality": 0,
    "seed": 0,
    "guidance_scale": 1,
    "return_intermediate_images": 2,
    "prompt": 3,
    "negative_prompt": 3,
    "output_format": 3,
    "material_strength": 3,
}
ENUMS = ("output_format", "material_strength")
CELLS = [(field, given) for field, column in FIELDS.items() for given in TABLE if TABLE[given][column] is not None]


def body_with(field: str, given: str) -> str:
    """The field's value goes in as the exact characters of the table. JPEG, so that the quality shows in the bytes."""
    body = ok(output_format="jpg")
    body.pop(field, None)
    return json.dumps(body)[:-1] + f', "{field}": {given}}}'


@pytest.fixture(scope="module")
def plain(api):
    """The picture of a plain value, made once."""
    made = {}

    def picture(field, value):
        if (field, value) not in made:
            body = ok(output_format="jpg", **{field: value}) if field != "output_format" else ok(output_format=value)
            form = body.get("output_format", "webp")
            made[field, value] = image_of(api.post(f"/v1/{MODEL}", body), form)
        return made[field, value]

    return picture


@pytest.mark.parametrize("field, given", CELLS, ids=[f"{field}-{given}" for field, given in CELLS])
def test_b3(api, plain, field, given):
    expected = TABLE[given][FIELDS[field]]
    answer = api.post_text(f"/v1/{MODEL}", body_with(field, given))
    if expected is AS_TEXT and field in ENUMS:
        assert "must be one of" in error_of(answer, 400)
    elif expected is REFUSED:
        text = error_of(answer, 400)
        assert field in text or given.strip("-") in ("NaN", "Infinity"), text
    elif expected is DEFAULT and field == "seed":
        image_of(answer, "jpg")  # random by default: there is no plain value to compare with
    elif expected is DEFAULT:
        image_of(answer, "webp" if field == "output_format" else "jpg")
        assert answer.content == plain(field, ...)
    elif expected is AS_TEXT:
        image_of(answer, "jpg")
        assert answer.content == plain(field, json.loads(given))
    else:
        image_of(answer, "jpg")
        assert answer.content == plain(field, expected)


def test_b3_null_in_a_required_field(api):
    assert "material_image" in error_of(api.v1(material_image=None), 400)


@pytest.mark.parametrize("given", ["6", " 6 ", "", "true"])
def test_b3_text_reaches_the_job_as_it_is(api, given):
    assert api.result(prompt=given)["prompt"] == given


def test_b3_out_of_range_is_refused_not_clamped(api):
    for field, given in (("steps", "-1"), ("output_quality", "101"), ("guidance_scale", "1e9"), ("max_width", "63.0")):
        assert field in error_of(api.v1(**{field: given}), 400)
