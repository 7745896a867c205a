"""Programs on Python's requests with the habits of F.3 rows 7, 8, 16 and 18."""

import base64
import io
import json

import pytest
import requests
from PIL import Image

import pictures
from client import image_of, ok
from material_server import BAD_KEY, KEY


def to_b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


def raw_body(**more) -> dict:
    return ok(material_image=to_b64(pictures.MATERIAL), subject_image=to_b64(pictures.SUBJECT), base64=False, **more)


def test_raw_base64_helper(session, server, api, tmp_path):
    """Row 7: raw base64, `"base64": False`, the body written to a file as it comes."""
    answer = session.post(
        f"{server.base}/v1/material-transfer", json=raw_body(output_format="png"), headers={"x-api-key": KEY}
    )
    assert answer.status_code == 200
    (tmp_path / "out.png").write_bytes(answer.content)
    expected = pictures.pixels(image_of(api.v1(output_format="png"), "png"))
    assert pictures.pixels((tmp_path / "out.png").read_bytes()) == expected


def test_raw_base64_helper_backs_off(session, rate_limited):
    """Row 7: on 429 it sleeps `int(Retry-After)`, which a date would break."""
    for _ in range(12):
        answer = session.post(f"{rate_limited.base}/v2/material-transfer", json=raw_body(), headers={"x-api-key": KEY})
        if answer.status_code == 429:
            assert 0 < int(answer.headers["Retry-After"]) <= 3600
            return
    raise AssertionError("twelve calls in a row and no limit")


class Wrapper:
    """Row 8: a picture if the content type begins with `image/`, else JSON; errors from `data["error"]`."""

    def __init__(self, session, base: str, key: str):
        self.session, self.base, self.headers = session, base, {"x-api-key": key, "Content-Type": "application/json"}

    def call(self, **body):
        answer = self.session.post(f"{self.base}/v1/material-transfer", headers=self.headers, data=json.dumps(body))
        if answer.headers.get("Content-Type", "").startswith("image/"):
            return Image.open(io.BytesIO(answer.content))
        data = answer.json()
        if "error" in data:
            raise RuntimeError(data["error"])
        return data


def test_wrapper_class(session, server):
    wrapper = Wrapper(session, server.base, KEY)
    assert wrapper.call(**ok()).format == "WEBP"
    assert set(wrapper.call(**ok(base64=True))) >= {"image"}
    with pytest.raises(RuntimeError, match=r"^output_quality: must be between 0 and 100$"):
        wrapper.call(**ok(output_quality=101))
    with pytest.raises(RuntimeError):
        Wrapper(session, server.base, BAD_KEY).call(**ok())


def test_mcp_server(session, server, spent):
    """Row 16: image or JSON by content type, 406 with "credit" is an empty account, a balance read from the header."""
    url = f"{server.base}/v1/material-transfer"
    answer = session.post(url, json=ok(), headers={"x-api-key": KEY})
    assert answer.headers["content-type"].startswith("image/") and float(answer.headers["x-remaining-credits"]) > 100
    out = session.post(f"{spent.base}/v1/material-transfer", json=ok(), headers={"x-api-key": KEY})
    assert out.status_code == 406 and "credit" in out.json()["error"].lower()
    other = session.post(url, data="x", headers={"x-api-key": KEY, "Content-Type": "text/plain"})
    assert other.status_code == 406 and "credit" not in other.text.lower()


def test_chat_bot(session, server):
    """Row 18: `data=json.dumps(…)` with a JSON content type, seeds up to 10^16, the content forwarded unchecked."""
    headers = {"x-api-key": KEY, "Content-Type": "application/json"}
    for seed in (9_999_999_999_999_999, 10**16, 0):
        answer = session.post(f"{server.base}/v1/material-transfer", headers=headers, data=json.dumps(ok(seed=seed)))
        assert answer.status_code == 200, answer.text
        pictures.opened(answer.content)
