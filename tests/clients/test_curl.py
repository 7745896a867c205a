"""curl as people type it (F.3 row 6), in the version that the machine has."""

import json
import shutil
import subprocess

import pytest

import pictures
from client import image_of, ok
from material_server import KEY

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
WHAT = "%{http_code} %{content_type} %{size_download} %{num_connects} %{num_redirects}"


@pytest.fixture
def curl(server, tmp_path):
    """curl(argument…) -> status, media type, the file that `-o` wrote, and what `-v` told."""

    def run(*arguments: str, path: str = "/v1/material-transfer"):
        out = tmp_path / "out.bin"
        command = [
            "curl",
            "-q",
            "--silent",
            "--verbose",
            "--max-time",
            "120",
            "-H",
            f"x-api-key: {KEY}",
            "-o",
            str(out),
            "-w",
            WHAT,
        ]
        done = subprocess.run(
            [*command, *arguments, f"{server.base}{path}"], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        code, media, size, _, _ = done.stdout.rsplit(" ", 4)
        assert int(size) == out.stat().st_size
        return int(code), media, out.read_bytes(), done.stderr

    return run


@pytest.fixture
def expected(api):
    return pictures.pixels(image_of(api.v1(output_format="png"), "png"))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.MATERIAL)
    (tmp_path / "b.png").write_bytes(pictures.SUBJECT)
    return ["-F", "material_image=@a.png", "-F", "subject_image=@b.png"]


def test_json(curl, tmp_path, expected):
    (tmp_path / "body.json").write_text(json.dumps(ok(output_format="png")))
    code, media, body, _ = curl("-H", "Content-Type: application/json", "-d", "@body.json")
    assert (code, media) == (200, "image/png")
    assert pictures.pixels(body) == expected


def test_multipart_files(curl, files, expected):
    fields = ["steps=1", "seed=7", "max_width=128", "max_height=128", "output_format=png"]
    code, media, body, _ = curl(*files, *[part for field in fields for part in ("-F", field)])
    assert (code, media) == (200, "image/png")
    assert pictures.pixels(body) == expected


def test_multipart_urls(curl, host, expected):
    fields = [f"material_image={host('/material.png')}", f"subject_image={host('/subject.png')}", "steps=1", "seed=7"]
    fields += ["max_width=128", "max_height=128", "output_format=png"]
    code, media, body, _ = curl(*[part for field in fields for part in ("--form-string", field)])
    assert (code, media) == (200, "image/png")
    assert pictures.pixels(body) == expected


def test_big_body_with_expect(curl, tmp_path):
    """Bodies above 1 MB make curl ask first; older versions do so from 1 kB."""
    big = pictures.data_uri(pictures.encoded(pictures.noise(1200, 900), compress_level=1))
    (tmp_path / "body.json").write_text(json.dumps(ok(subject_image=big)))
    code, media, body, told = curl(
        "-H", "Content-Type: application/json", "-H", "Expect: 100-continue", "--data-binary", "@body.json"
    )
    assert (code, media) == (200, "image/webp")
    assert "< HTTP/1.1 100 Continue" in told
    pictures.opened(body)


def test_form_is_no_json(curl):
    """`-d` without a content type sends a form, which is a 406 that says what to use."""
    code, _, body, _ = curl("-d", json.dumps(ok()))
    assert code == 406 and "application/json" in json.loads(body)["error"]


def test_v2_by_hand(curl, tmp_path, api):
    (tmp_path / "body.json").write_text(json.dumps(ok()))
    code, _, body, _ = curl("-H", "Content-Type: application/json", "-d", "@body.json", path="/v2/material-transfer")
    job = json.loads(body)
    assert code == 200 and job["status"] == "QUEUED"
    api.wait(job)
    code, _, body, _ = curl(path=f"/v2/requests/{job['request_id']}")
    assert code == 200 and json.loads(body)["status"] == "COMPLETED"


def test_compressed_is_accepted(curl, api):
    """`--compressed` offers gzip: JSON may come so, a picture should not (A.1)."""
    result = api.result()
    code, media, body, told = curl("--compressed", path=result["output"].removeprefix(api.base))
    assert (code, media) == (200, "image/webp")
    assert "content-encoding" not in told.lower()
    pictures.opened(body)
