"""The official openai client, unmodified, given another base address."""

import base64
import io

import httpx
import openai
import pytest
from PIL import Image, ImageChops, ImageStat

import pictures
from material_server import BAD_KEY, KEY


def client(server, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.base}/v1", api_key=key, max_retries=0, http_client=httpx.Client(trust_env=False, timeout=60)
    )


def pair() -> list:
    return [("subject.png", pictures.SUBJECT, "image/png"), ("material.png", pictures.MATERIAL, "image/png")]


def test_edit_answers_with_the_picture(server):
    result = client(server).images.edit(model="material-transfer", image=pair(), prompt="gold", size="256x256")
    picture = pictures.opened(base64.b64decode(result.data[0].b64_json))
    assert max(picture.size) <= 256 and result.output_format == "png"
    assert result.created > 1_700_000_000


def test_edit_answers_with_a_url(server):
    result = client(server).images.edit(
        model="material-transfer", image=pair(), prompt="gold", response_format="url", output_format="jpeg"
    )
    answer = httpx.get(result.data[0].url, trust_env=False)
    assert answer.headers["content-type"] == "image/jpeg"
    pictures.opened(answer.content)


def test_a_masks_transparent_pixels_get_the_material(server):
    """The left half is edited; on the right the subject keeps its bytes."""
    subject = pictures.opened(pictures.SUBJECT).convert("RGB")
    width, height = subject.size
    mask = Image.new("RGBA", subject.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    stored = io.BytesIO()
    mask.save(stored, "PNG")
    call = client(server).images.edit
    result = call(model="material-transfer", image=pair(), prompt="gold", mask=("mask.png", stored.getvalue(), "image/png"))
    made = pictures.opened(base64.b64decode(result.data[0].b64_json)).convert("RGB")
    change = ImageChops.difference(subject, made).convert("L")
    assert made.size == subject.size
    assert ImageStat.Stat(change.crop((0, 0, width // 2 - 8, height))).mean[0] > 5
    assert change.crop((width // 2 + 8, 0, width, height)).getextrema() == (0, 0)
    with pytest.raises(openai.BadRequestError) as refused:
        call(model="m", image=pair(), prompt="gold", mask=pair()[0])
    assert refused.value.param == "mask" and "transparent" in refused.value.message


def test_errors_are_the_clients_own(server):
    with pytest.raises(openai.AuthenticationError):
        client(server, BAD_KEY).images.edit(model="m", image=pair(), prompt="gold")
    with pytest.raises(openai.BadRequestError) as refused:
        client(server).images.edit(model="m", image=pair()[0], prompt="gold")
    assert refused.value.param == "image" and "two pictures" in refused.value.message
