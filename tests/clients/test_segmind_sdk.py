"""The Segmind SDK from PyPI, four versions, each in its own environment and unmodified: given base_url and key only."""

import base64

import pytest

import pictures
import workload
from client import Api, image_of, ok
from material_server import BAD_KEY, KEY

MODERN = ("1.3.0", "1.1.0", "1.0.1")


@pytest.fixture(params=MODERN)
def version(request):
    return request.param


@pytest.fixture
def drive(sdk, server, version):
    """The SDK of this version at the ordinary server."""

    def run(scenario: str, key: str = KEY, base: str | None = None, **changes) -> dict:
        report = sdk(version, f"{base or server.base}/v1", key, scenario, ok(**changes))
        assert report["version"] == version
        return report

    return run


def downloaded(api, result: dict, form: str = "webp") -> bytes:
    return image_of(api.get(result["output"], headers={}), form)


def test_run(drive, api):
    """The seed page's sample."""
    report = drive("run")
    assert report["status"] == "COMPLETED"
    assert report["inference_time"] > 0
    assert pictures.opened(downloaded(api, report)).size == (128, 77)


def test_run_with_all_parameters_of_the_seed_page(drive, api):
    report = drive(
        "run",
        prompt="marble sculpture",
        steps=6,
        guidance_scale=2,
        material_strength="medium",
        max_width=1920,
        max_height=1920,
        output_format="webp",
        output_quality=80,
        return_intermediate_images=False,
        negative_prompt="",
        seed=None,
    )
    assert report["status"] == "COMPLETED"
    assert pictures.opened(downloaded(api, report)).size == (160, 96)


def test_run_forwards_every_keyword(drive):
    """Since 1.1.0 `timeout` and `interval` are the model's; None goes out as null. All of it must be borne."""
    assert (
        drive("run", timeout=100, interval=0.2, negative_prompt=None, samples=1, base64=False)["status"] == "COMPLETED"
    )


def test_run_at_module_level(drive):
    assert drive("module_level")["result"]["status"] == "COMPLETED"


def test_run_sync(drive, api):
    report = drive("run_sync", output_format="png")
    assert report["status_code"] == 200
    assert report["headers"]["content-type"] == "image/png"
    assert report["headers"]["x-seed-value"] == "7"
    picture = base64.b64decode(report["content"])
    assert pictures.pixels(picture) == pictures.pixels(image_of(api.v1(output_format="png"), "png"))


def test_run_sync_with_urls(drive, host):
    report = drive("run_sync", subject_image=host("/subject.png"), material_image=host("/material.png"))
    assert report["status_code"] == 200


def test_submit_and_wait(drive, api):
    report = drive("submit_and_wait", output_format="jpg")
    assert report["submit"]["status"] == "QUEUED"
    assert report["submit"]["request_id"] == report["request_id"] == report["result"]["request_id"]
    assert report["first"]["status"] in ("QUEUED", "PROCESSING", "COMPLETED")
    assert report["result"] == report["again"]
    downloaded(api, report["result"], "jpg")


def test_inference_timeout_and_return(drive, api):
    changes, _ = workload.done_in_at_least(api, 1.5)
    report = drive("give_up_and_come_back", **changes)
    late = report["timeout"]
    assert late and late["request_id"] == late["job"] and late["elapsed_s"] >= 0.2
    assert report["result"]["status"] == "COMPLETED"


def test_inference_failed(drive, host):
    report = drive("failing_job", subject_image=host("/missing.png"))
    assert report["failed"]["detail"] == "subject_image: could not be downloaded (HTTP 404)"
    assert report["failed"]["status_body"]["status"] == "FAILED"
    assert report["result"]["status"] == "FAILED" and report["result"]["error"] == report["failed"]["detail"]


def test_inference_failed_reaches_the_user_of_run(drive, host):
    report = drive("run", subject_image=host("/page.html"))
    assert report["raised"] == "InferenceFailed"
    assert report["detail"] == "subject_image: not a readable image: the URL led to a web page"


@pytest.mark.parametrize("scenario", ["run", "run_sync", "submit_and_wait"])
def test_bad_parameter(drive, scenario):
    report = drive(scenario, guidance_scale=11)
    assert (report["raised"], report["status"]) == ("SegmindError", 400)
    assert report["detail"] == "guidance_scale: must be between 1 and 10"


@pytest.mark.parametrize("scenario", ["run", "run_sync"])
@pytest.mark.parametrize("key", [BAD_KEY, ""], ids=["wrong key", "no key"])
def test_keys(drive, scenario, key):
    report = drive(scenario, key=key)
    assert (report["raised"], report["status"]) == ("SegmindError", 401)
    assert isinstance(report["detail"], str) and report["detail"]


def test_unknown_job(drive):
    report = drive("unknown_job")
    assert (report["raised"], report["status"]) == ("SegmindError", 404)
    assert report["detail"] == "Request 00000000-0000-0000-0000-000000000000 not found"


def test_credits_used_up(drive, spent):
    report = drive("run", base=spent.base)
    assert (report["raised"], report["status"]) == ("SegmindError", 406)
    assert "credits" in report["detail"].lower()


def test_path_prefix(drive, prefixed):
    """A.12: `http://h/api/v1` makes the SDK ask `http://h/api/v2`."""
    assert prefixed.base.endswith("/api")
    report = drive("run", base=prefixed.base)
    assert report["status"] == "COMPLETED" and report["output"].startswith(prefixed.base)
    image_of(Api(prefixed.base).get(report["output"], headers={}))


OLD = {"material_image": pictures.M, "subject_image": pictures.S}


@pytest.mark.parametrize("scenario", ["T2I", "SDXL"])
def test_0_2_3(sdk, server, scenario):
    report = sdk("0.2.3", f"{server.base}/v1", KEY, scenario, OLD)
    assert report.get("format") == "WEBP", report
    assert report["size"] == [160, 96]
    assert report["said"].startswith("Success! You have ") and report["said"].endswith(" credits remaining")


@pytest.mark.parametrize("key, given, code", [(KEY, {}, 400), (BAD_KEY, OLD, 401)], ids=["no pictures", "wrong key"])
def test_0_2_3_errors(sdk, server, key, given, code):
    report = sdk("0.2.3", f"{server.base}/v1", key, "T2I", given)
    assert report == {"raised": "Exception", "detail": f"Error: {code}"}
