"""F-70 and F-71: bodies above the limit, and large ones below it, in each way that clients send them."""

import json

import pytest

import pictures
from client import MODEL, by_hand, error_of, image_of, ok
from wire import Connection

PATH = f"/v1/{MODEL}"
TOO_LARGE = 65 << 20


def still_alive(api) -> None:
    assert api.get("/health/live").status_code == 200
    image_of(api.v1())


@pytest.fixture(scope="module")
def too_large():
    filler = "A" * (TOO_LARGE - len(json.dumps(ok(subject_image=""))))
    body = json.dumps(ok(subject_image=filler)).encode()
    assert len(body) == TOO_LARGE
    return body


@pytest.fixture(scope="module")
def large():
    """20 MiB of base64: a picture of noise, which no coder makes smaller."""
    side = int((20 * (1 << 20) * 3 / 4 / 3) ** 0.5)
    body = json.dumps(
        ok(subject_image=pictures.data_uri(pictures.encoded(pictures.noise(side, side), compress_level=1)))
    ).encode()
    assert len(body) > 20 << 20
    return body


def json_headers(api, **more: str) -> dict[str, str]:
    return (
        api.headers()
        | {"Content-Type": "application/json"}
        | {name.replace("_", "-"): value for name, value in more.items()}
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_f70_above_the_limit(api, too_large, version):
    with Connection(api.base) as connection:
        connection.head("POST", f"/{version}/{MODEL}", json_headers(api, Content_Length=str(len(too_large))))
        connection.send(too_large)
        error_of(by_hand(connection.answer()), 413)
    still_alive(api)


def test_f70_above_the_limit_without_a_length(api, too_large):
    with Connection(api.base) as connection:
        connection.head("POST", PATH, json_headers(api, Transfer_Encoding="chunked"))
        connection.send_chunked(too_large)
        error_of(by_hand(connection.answer()), 413)
    still_alive(api)


def test_f70_refused_before_it_is_sent(api):
    """A client that asks first gets its answer without sending 65 MiB."""
    with Connection(api.base, timeout=10) as connection:
        connection.head("POST", PATH, json_headers(api, Content_Length=str(TOO_LARGE), Expect="100-continue"))
        answer = connection.answer()
        error_of(by_hand(answer), 413)
        assert 100 not in answer.interim


def test_f71_expect_continue(api, large):
    with Connection(api.base) as connection:
        connection.head("POST", PATH, json_headers(api, Content_Length=str(len(large)), Expect="100-continue"))
        connection.socket.settimeout(2)  # "promptly": curl itself waits one second and then sends anyway
        status, _ = connection.read_head()
        assert status == 100
        connection.socket.settimeout(60)
        connection.send(large)
        image_of(by_hand(connection.answer()))


def test_f71_chunked(api, large):
    with Connection(api.base) as connection:
        connection.head("POST", PATH, json_headers(api, Transfer_Encoding="chunked"))
        assert connection.send_chunked(large)
        image_of(by_hand(connection.answer()))
