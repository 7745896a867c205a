"""The server's own pages in a real browser (Debian's Chromium): the playground at `/`, the reference at `/docs`."""

import os
import shutil

import pytest

from client import Api
from conftest import _server
from material_server import KEY


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    yield from _server(tmp_path_factory.mktemp("open"), "open")


@pytest.fixture(scope="module")
def seen(node, server, open_server):
    chromium = os.environ.get("CHROMIUM_BIN") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM_BIN")
    given = {
        "executable": chromium,
        "keyed": {"base": server.base, "key": KEY},
        "shots": os.environ.get("PLAYGROUND_SHOTS"),
    }
    return node("playground", open_server.base, "", given=given, seconds=280)


def test_a_whole_transfer(seen):
    transfer = seen["transfer"]
    assert transfer["sizes"] == [640, 640]
    assert "seed 7" in transfer["facts"] and transfer["again"] == transfer["facts"]
    assert transfer["download"] == "pumpkin-marble-7.webp"
    assert transfer["slider"][0] != transfer["slider"][1], "the keyboard moves the slider"
    assert "Output" in transfer["steps"] and "Mask" in transfer["steps"]
    assert transfer["kept"] == 1, "kept over a reload"


def test_progress_is_shown_and_moves(seen):
    states = seen["transfer"]["states"]
    shares = [int(state.split("%")[0].split()[1]) for state in states if state.startswith("Working")]
    assert shares == sorted(shares) and len(set(shares)) >= 3, states


def test_every_parameter_of_the_document_has_a_control(seen, open_server):
    document = Api(open_server.base, None).get("/openapi.json").json()
    names = set(document["components"]["schemas"]["TransferRequest"]["properties"])
    pictures = {"subject_image", "material_image", "subject_mask", "blend_image", "masks", "materials"}
    elsewhere = {"base64", "webhook_url"}
    assert names - set(seen["transfer"]["settings"]) <= pictures | elsewhere


def test_a_painted_mask_and_a_second_material(seen):
    masked = seen["masked"]
    change = masked["change"]
    assert change["painted"] > 10 and change["beside"] < 4 and change["corner"] < 4, change  # lossy WebP
    for part in ("subject_mask=@mask.png", "blend_image=@plain.png", "material_blend=1"):
        assert part in masked["snippet"], masked["snippet"]
    assert "subject_mask" not in masked["removed"] and "blend_image" in masked["removed"]


def test_regions_get_their_own_materials(seen):
    regions = seen["regions"]
    change = regions["change"]
    assert change["left"][2] > change["left"][0] and change["right"][0] > change["right"][2], change  # blue and yellow
    assert change["between"] < 8 and change["corner"] < 8, change  # lossy WebP
    parts = ["masks=@mask-1.png", "materials=@plain-0.png", "masks=@mask-2.png", "materials=@plain-1.png"]
    places = [regions["snippet"].index(part) for part in parts]
    assert places == sorted(places) and "material_image" not in regions["snippet"] and regions["alone"]
    assert "material_image" in regions["without"] and "masks" not in regions["without"]
    assert regions["again"].count("masks=@") == regions["again"].count("materials=@") == 2


def test_snippets_are_of_this_very_request(seen):
    for language, text in seen["transfer"]["snippets"].items():
        for part in ("pumpkin.jpg", "marble.jpg", "material_strength", "strong", "seed", "7", "/v1/material-transfer"):
            assert part in text, f"{language}: {part}"


def test_a_failure_says_what_is_wrong_and_where(seen):
    failure = seen["failure"]
    assert "not a readable image" in failure["field"] and "Subject image" in failure["problem"]
    assert failure["number"] == "must be at least 64"


def test_a_cancel_ends_the_job(seen):
    cancel = seen["cancel"]
    assert cancel["state"]["status"] == "FAILED" and "cancelled" in cancel["state"]["error"]
    assert "Cancelled" in cancel["idle"] and cancel["enabled"]


def test_a_closed_page_ends_its_job(seen):
    assert seen["closed"]["status"] == "FAILED" and "cancelled" in seen["closed"]["error"]


def test_a_server_with_keys(seen):
    keyed = seen["key_needed"]
    assert keyed["refused"].startswith("Unauthorized")
    assert "x-api-key: $KEY" in keyed["snippet"] and not keyed["leaked"]


def test_the_reference_is_in_order_with_bodies(seen, open_server):
    docs = seen["docs"]
    order = ["A first call", "One call: v1", "Submit and poll: v2", "Parameters", "Additions", "Other routes", "Errors"]
    assert docs["chapters"] == order
    assert docs["routes"][:3] == ["/v1/material-transfer", "/v2/material-transfer", "/v2/requests/{id}/status"]
    assert set(docs["routes"]) == set(Api(open_server.base, None).get("/openapi.json").json()["paths"])
    assert docs["bodies"] >= 10 and docs["jumped"] == "#parameters"


def test_axe_finds_nothing(seen):
    parts = ("docs", "failure", "transfer", "masked", "regions", "cancel", "key_needed")
    assert [line for part in parts for line in seen[part]["axe"]] == []


def test_the_browser_complains_of_nothing_but_the_refusals(seen):
    """Chromium logs each 4xx answer; a word of the content security policy would be a hole in the page."""
    assert [text for text in seen["complaints"] if "the server responded with a status of 4" not in text] == []


def test_people_get_html_and_programs_json(open_server):
    api = Api(open_server.base, None)
    for path in ("/", "/docs"):
        person = api.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert person.headers["content-type"].startswith("text/html")
        policy = person.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        program = api.get(path)
        assert program.headers["content-type"].startswith("application/json") and isinstance(program.json(), dict)
