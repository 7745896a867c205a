"""The official openai client, unmodified, given another base address."""

import base64

import httpx
import openai
import pytest

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


def test_errors_are_the_clients_own(server):
    with pytest.raises(openai.AuthenticationError):
        client(server, BAD_KEY).images.edit(model="m", image=pair(), prompt="gold")
    with pytest.raises(openai.BadRequestError) as refused:
        client(server).images.edit(model="m", image=pair()[0], prompt="gold")
    assert refused.value.param == "image" and "two pictures" in refused.value.message
