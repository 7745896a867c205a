"""F-65 and F-66: what a page on another origin needs."""

import pytest

from client import MODEL, Api, image_of, ok

ORIGIN = "http://page.example"
EXPOSED = {
    "x-request-id",
    "x-cost",
    "x-remaining-credits",
    "x-generation-time",
    "x-seed-value",
    "x-output-metadata",
    "x-rate-limit-reset-at-utc",
    "retry-after",
}


def listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",")}


def allowed(answer) -> None:
    assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)


@pytest.mark.parametrize(
    "path", [f"/v2/{MODEL}", f"/v1/{MODEL}", "/v2/requests/00000000-0000-0000-0000-000000000000/status"]
)
def test_f65_preflight(stranger, path):
    asked = ["x-api-key", "content-type", "access-control-allow-origin", "x-initiator"]
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ",".join(asked),
        "Access-Control-Request-Private-Network": "true",
    }
    answer = stranger.request("OPTIONS", path, headers=headers)
    assert answer.status_code in (200, 204)
    allowed(answer)
    assert set(asked) <= listed(answer.headers["access-control-allow-headers"])
    assert {"get", "post"} <= listed(answer.headers["access-control-allow-methods"])
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("status", [400, 401, 404, 405, 406, 422])
def test_f66_errors_can_be_read_by_the_page(api, stranger, status):
    headers = api.headers(Origin=ORIGIN)
    if status == 401:
        answer = stranger.post(f"/v1/{MODEL}", ok(), headers={"Origin": ORIGIN})
    elif status == 404:
        answer = api.get("/v2/requests/00000000-0000-0000-0000-000000000000", headers=headers)
    elif status == 405:
        answer = api.get(f"/v1/{MODEL}", headers=headers)
    elif status == 406:
        answer = api.request("POST", f"/v1/{MODEL}", headers=headers | {"content-type": "text/plain"}, content=b"x")
    elif status == 400:
        answer = api.post(f"/v1/{MODEL}", ok(steps=0), headers=headers)
    else:
        job = api.submit(subject_image="http://no-such-host.invalid/subject.png")
        api.wait(job)
        answer = api.get(job["status_url"], headers=headers)
    assert answer.status_code == status
    allowed(answer)
    assert listed(answer.headers["access-control-expose-headers"]) >= EXPOSED


def test_f66_successes_and_files_too(api):
    answer = api.post(f"/v1/{MODEL}", ok(), headers=api.headers(Origin=ORIGIN))
    image_of(answer)
    allowed(answer)
    assert listed(answer.headers["access-control-expose-headers"]) >= EXPOSED
    allowed(Api(api.base).get(api.result()["output"], headers={"Origin": ORIGIN}))
