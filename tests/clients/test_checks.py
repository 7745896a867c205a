"""The operator's checker beside the real binary: a service and a program, both in Python, with real pictures."""

import base64
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

import pictures
from checker import Service
from client import Api, ok
from material_server import KEY, MaterialServer

CHECKER = Path(__file__).parent / "checker.py"


def plain() -> str:
    stored = io.BytesIO()
    Image.new("RGB", (96, 96), (200, 30, 30)).save(stored, "PNG")
    return "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode()


def settings(way: str, service: Service) -> str:
    if way == "url":
        return f'check_url = "{service.url}"\n'
    return f'check_command = ["{sys.executable}", "{CHECKER}"]\n'


@pytest.fixture(params=["url", "command"])
def checked(request, tmp_path):
    service = Service()
    server = MaterialServer(tmp_path / "server", config=settings(request.param, service)).start()
    yield Api(server.base, KEY), service if request.param == "url" else None, server
    server.stop(patience=20)
    service.shutdown()


def test_good_pictures_pass_and_plain_ones_are_refused(checked):
    api, service, server = checked
    answer = api.v1()
    assert answer.status_code == 200, answer.text
    assert pictures.opened(answer.content)
    if service:
        assert sorted(service.names()) == [("input", "material_image"), ("input", "subject_image"), ("output", "output")]
        assert {each["request_id"] for each in service.asked} == {answer.headers["x-request-id"]}
    refused = api.v1(material_image=plain())
    assert refused.status_code == 400
    assert refused.json()["error"] == "Content blocked: material_image: input: nothing to be seen"
    submitted = api.submit(material_image=plain())
    over = api.get(f"/v2/requests/{submitted['request_id']}?wait=30")
    assert over.status_code == 422 and over.json()["error"].startswith("Content blocked: material_image")
    assert not [path for path in (server.data / "blobs").rglob("*.png")], "nothing of a refused job is kept"


def test_a_checker_that_is_gone_refuses_and_the_server_goes_on(tmp_path):
    service = Service()
    config = settings("url", service) + 'check_timeout = "1s"\n'
    service.shutdown()
    service.server_close()
    server = MaterialServer(tmp_path / "server", config=config).start()
    try:
        api = Api(server.base, KEY)
        assert api.v1().status_code == 500
        assert "could not be checked" in server.tail()
        assert api.get("/health/ready").status_code == 200
    finally:
        server.stop(patience=20)
