"""F-67 and F-72: odd paths, and the base address from which the handed-out URLs are made."""

import json

import pytest

from client import MODEL, Api, by_hand, error_of, image_of, ok
from wire import exchange


@pytest.mark.parametrize("path", [f"/v1/{MODEL}/", f"//v1/{MODEL}", f"/v2/{MODEL}/", f"//v2/{MODEL}"])
def test_f67_slashes_are_no_redirects(api, path):
    headers = api.headers() | {"Content-Type": "application/json"}
    answer = by_hand(exchange(api.base, "POST", path, headers, json.dumps(ok()).encode()))
    assert answer.status_code in (200, 404), answer.status_code
    if answer.status_code == 404:
        error_of(answer, 404)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/", "/v1/", "/v3/material-transfer", "/workflows/abc-v1", "/files/", "/files/none.webp"]
)
def test_f67_unknown_paths_are_json_404(api, path):
    answer = api.get(path)
    if path == "/" and answer.status_code == 200:
        return  # a start page for people is allowed
    if answer.status_code == 405:
        assert answer.headers["allow"]
    error_of(answer, 404 if answer.status_code != 405 else 405)


def test_f72_urls_follow_the_host_header(special):
    api = special("unchanged")
    headers = api.headers(Host="other.example:1234")
    answer = api.post(f"/v2/{MODEL}", ok(), headers=headers)
    assert answer.status_code == 200
    for name in ("status_url", "response_url", "poll_url"):
        assert answer.json()[name].startswith("http://other.example:1234/v"), answer.json()[name]
    ident = answer.json()["request_id"]
    api.wait({"status_url": f"/v2/requests/{ident}/status"})
    result = api.get(f"/v2/requests/{ident}", headers=headers).json()
    assert result["output"].startswith("http://other.example:1234/")
    assert result["images"][0]["url"] == result["output"]


def test_f72_a_stranger_cannot_forward_a_host(special):
    """A.4: `X-Forwarded-*` counts from a trusted proxy only, and none is configured here."""
    api = special("unchanged")
    headers = api.headers(X_Forwarded_Host="evil.example", X_Forwarded_Proto="https")
    assert api.post(f"/v2/{MODEL}", ok(), headers=headers).json()["status_url"].startswith(f"{api.base}/")


def test_f72_behind_a_trusted_proxy(special):
    api = special("proxied")
    headers = api.headers(X_Forwarded_Host="shop.example", X_Forwarded_Proto="https")
    body = api.post(f"/v2/{MODEL}", ok(), headers=headers).json()
    assert body["status_url"] == f"https://shop.example/v2/requests/{body['request_id']}/status"


def test_f72_configured_public_url_and_prefix_win(special):
    """The public URL carries a path prefix, under which the server has to answer as well (A.12)."""
    api = special("prefixed")
    assert api.base.endswith("/api")
    answer = api.post(f"/v2/{MODEL}", ok(), headers=api.headers(Host="other.example"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status_url"] == f"{api.base}/v2/requests/{body['request_id']}/status"
    assert api.wait(body).json()["status"] == "COMPLETED"
    output = api.get(body["response_url"]).json()["output"]
    assert output.startswith(f"{api.base}/")
    image_of(Api(api.base).get(output, headers={}))
    image_of(api.v1())
