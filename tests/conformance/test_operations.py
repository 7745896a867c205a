"""F-79 and F-80: health, metrics, the published schema, credits; and the small neighbours of A.0."""

import re
import time

import pytest

import pictures
from client import MODEL, Api, image_of
from material_server import KEY

PARAMETERS = {
    "material_image",
    "subject_image",
    "prompt",
    "negative_prompt",
    "guidance_scale",
    "steps",
    "material_strength",
    "max_width",
    "max_height",
    "output_format",
    "output_quality",
    "return_intermediate_images",
    "seed",
}


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json"])
def test_f79_no_key_needed(stranger, path):
    assert stranger.get(path).status_code == 200


def test_f79_not_ready_while_loading(servers, tmp_path):
    """Every answer before the first 200 has to be 503; a server that binds its port only when loaded gives none."""
    server = servers.new("default", tmp_path)
    try:
        server.start()
        assert set(server.ready_answers[:-1]) <= {503}, server.ready_answers
        assert server.ready_answers[-1] == 200
    finally:
        server.kill()


def resolved(document: dict, schema: dict) -> dict:
    while "$ref" in schema:
        place = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        schema = place
    return schema


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_f79_openapi_lists_every_parameter(stranger, version):
    document = stranger.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    post = document["paths"][f"/{version}/{MODEL}"]["post"]
    schema = resolved(document, post["requestBody"]["content"]["application/json"]["schema"])
    properties = {name: resolved(document, what) for name, what in schema["properties"].items()}
    assert set(properties) >= PARAMETERS
    assert set(schema["required"]) == {"material_image", "subject_image"}
    text = {name: str(what) for name, what in properties.items()}
    for name, facts in {
        "material_strength": ("medium", "strong"),
        "output_format": ("webp", "jpg", "png"),
        "output_quality": ("80", "100"),
        "steps": ("6",),
        "guidance_scale": ("1", "10", "2"),
        "max_width": ("1920",),
        "prompt": ("marble sculpture",),
    }.items():
        for fact in facts:
            assert fact in text[name], f"{name} does not state {fact}: {text[name]}"
    assert "x-api-key" in str(document["components"]["securitySchemes"]).lower()


def test_f79_openapi_lists_the_polls(stranger):
    paths = stranger.get("/openapi.json").json()["paths"]
    polls = [path for path in paths if re.fullmatch(r"/v2/requests/\{\w+\}/status|/v[12]/requests/\{\w+\}", path)]
    assert len(polls) == 3, list(paths)
    for path in polls:
        assert {"200", "404", "422"} <= set(paths[path]["get"]["responses"])


def test_f79_metrics_are_prometheus_text(stranger):
    answer = stranger.get("/metrics")
    assert answer.headers["content-type"].startswith(("text/plain", "application/openmetrics-text"))
    lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    assert lines
    label = r'[a-zA-Z_]\w*="(?:[^"\\]|\\.)*"'
    for line in lines:
        assert re.fullmatch(rf"[a-zA-Z_:][\w:]*(\{{{label}(,{label})*\}})? [-+0-9.eEInfNa]+( \d+)?", line), line


def test_f80_credits(api, stranger):
    answer = api.get("/v1/get-user-credits")
    assert answer.status_code == 200
    credits = answer.json()["credits"]
    assert isinstance(credits, (int, float)) and not isinstance(credits, bool) and credits > 0
    assert stranger.get("/v1/get-user-credits").status_code == 401


def test_output_file(api):
    """A.8: HEAD as well as GET, a superfluous key is no harm, and the cache may not outlive the file."""
    url = api.result()["output"]
    stranger = Api(api.base)
    got = stranger.get(url)
    image_of(got)
    image_of(api.get(url))
    head = stranger.request("HEAD", url)
    assert head.status_code == 200 and head.content == b""
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]
    cache = got.headers["cache-control"]
    assert "private" in cache
    assert 0 < int(re.search(r"max-age=(\d+)", cache)[1]) <= 3600


def test_upload_asset(api, stranger):
    """A.0 row 10 and G.2 (14): upload first, pass the address later. Both names of the list are accepted."""
    assert stranger.post("/upload-asset", {"data_urls": [pictures.S]}).status_code == 401
    answer = api.post("/upload-asset", {"data_urls": [pictures.S, pictures.M]})
    assert answer.status_code == 200, answer.text
    subject, material = answer.json()["file_urls"]
    assert api.get(subject, headers={}).content == pictures.SUBJECT
    got = api.v1(subject_image=subject, material_image=material, output_format="png")
    assert pictures.pixels(image_of(got, "png")) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


@pytest.mark.parametrize(("path", "reason"), [("/missing.png", "HTTP 404"), ("/half.png", "cut short")])
def test_the_log_says_why_a_job_failed(servers, host, tmp_path, path, reason):
    """One line, whether its picture could not be fetched or a worker could not use it: which job, whose, how long, why."""
    server = servers.new("default", tmp_path)
    try:
        server.start()
        api = Api(server.base, KEY)
        job = api.submit(subject_image=host(path))
        assert reason in api.wait(job).json()["error"]
        ends = time.monotonic() + 5
        while not (lines := [line for line in server.log.read_text().splitlines() if "job failed" in line]):
            assert time.monotonic() < ends, server.tail()
            time.sleep(0.05)
        assert len(lines) == 1 and "WARN" in lines[0], lines
        for part in (job["request_id"], "key-", "seconds=", reason):
            assert part in lines[0], lines[0]
    finally:
        server.stop()
