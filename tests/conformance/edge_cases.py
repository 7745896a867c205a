"""The rows of B.6 as data: what is sent, what v1 and v2 have to answer, and how the error text reads."""

import base64
import json
from dataclasses import dataclass, field

import pictures

FAILED = "accepted, then FAILED"
REFUSED_OR_FAILED = "refused at submit, or accepted and then FAILED"
ABSENT = object()


@dataclass(frozen=True)
class Case:
    """One input of one row. `{host}` in a string stands for the tester's picture site."""

    row: int
    what: str
    v1: int
    v2: int | str
    text: str = ""
    changes: dict = field(default_factory=dict)
    raw: bytes | None = None
    media: str | None = "application/json"

    def name(self) -> str:
        return f"row-{self.row:02}-{self.what}"

    def needs_host(self) -> bool:
        return any("{host}" in str(value) for value in self.changes.values())


def _both(row: int, code: int, text: str, field_name: str, *given) -> list[Case]:
    """The same answer on v1 and v2 for each of the given values of one field."""
    return [
        Case(row, f"{field_name}={_short(value)}", code, code, text, {field_name: ... if value is ABSENT else value})
        for value in given
    ]


def _short(value) -> str:
    if value is ABSENT:
        return "absent"
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:16] + "~"


def _raw(row: int, what: str, code: int, text: str, body: bytes, media: str | None = "application/json") -> Case:
    return Case(row, what, code, code, text, raw=body, media=media)


_OBJECT = r"Request body must be a JSON object"
_REQUIRED = r"{}: field is required"
_NO_IMAGE = r"{}: must be a URL, data URI or base64 string"
# What it is instead is named where its first bytes tell.
_UNREADABLE = r"subject_image: not a readable image(: .+)?"
_TEXT = base64.b64encode(b"this is no picture, whatever the field says").decode()
_VALID = json.dumps({"material_image": pictures.M, "subject_image": pictures.S, "steps": 1}).encode()


def bodies() -> list[Case]:
    """Rows 1 to 5, 10 and 51: the body itself."""
    not_json = r"Request body is not valid JSON: .+"
    type_text = r"Invalid content type\. Use application/json or multipart/form-data"
    doubled = _VALID[:-1]
    return [
        _raw(1, "empty", 400, _OBJECT, b""),
        _raw(2, "cut off", 400, not_json, b'{"a":'),
        _raw(2, "invalid utf-8", 400, not_json, b'{"prompt":"\xff\xfe"}'),
        _raw(2, "single quotes", 400, not_json, b"{'steps': 1}"),
        _raw(2, "something after the end", 400, not_json, b"{} {}"),
        *[_raw(3, text.decode(), 400, _OBJECT, text) for text in (b"[]", b'"x"', b"5", b"null", b"true")],
        # The example is the hosted service's bare sentence; saying what to send instead, as in row 5, is no less.
        _raw(4, "no content type", 406, r"Invalid content type(\. .+)?", _VALID, None),
        *[
            _raw(5, media, 406, type_text, _VALID, media)
            for media in ("text/plain", "application/x-www-form-urlencoded", "application/xml")
        ],
        _raw(10, "replicate envelope", 400, _REQUIRED.format("material_image"), b'{"input":' + _VALID + b"}"),
        _raw(51, "last one good", 200, "", doubled + b', "steps": "x", "steps": 1}'),
        _raw(51, "last one bad", 400, r"steps: must be an integer", doubled + b', "steps": 1, "steps": "x"}'),
    ]


def images() -> list[Case]:
    """Rows 7 to 9 and 37 to 40: the two pictures as given in the body."""
    cases = []
    for name in ("material_image", "subject_image"):
        cases += _both(7, 400, _REQUIRED.format(name), name, ABSENT)
        cases += _both(8, 400, _REQUIRED.format(name), name, None, "", "   ")
        cases += _both(9, 400, _NO_IMAGE.format(name), name, 5, [], {}, True)
    plain = base64.b64encode(pictures.SUBJECT).decode()
    wrapped = "\r\n".join(plain[start : start + 76] for start in range(0, len(plain), 76))
    url_safe = plain.replace("+", "-").replace("/", "_")
    forms = {"raw": plain, "with line breaks": wrapped, "without padding": plain.rstrip("="), "url-safe": url_safe}
    cases += [Case(37, what, 200, 200, changes={"subject_image": text}) for what, text in forms.items()]
    for media in ("image/png", "image/jpeg", "application/octet-stream"):
        cases.append(Case(38, media, 200, 200, changes={"subject_image": pictures.data_uri(pictures.SUBJECT, media)}))
    unreadable = {
        "not base64": "hello, world!",
        "base64 of text": _TEXT,
        "data uri of text": "data:image/png;base64," + _TEXT,
        "truncated png": pictures.data_uri(pictures.SUBJECT[: len(pictures.SUBJECT) // 2]),
        "truncated jpeg": pictures.data_uri(pictures.encoded(pictures.noise(128, 128), "JPEG")[:2000]),
        "svg": pictures.data_uri(b'<svg xmlns="http://www.w3.org/2000/svg" width="128" height="96"/>', "image/svg+xml"),
    }
    cases += [Case(39, what, 400, 400, _UNREADABLE, {"subject_image": text}) for what, text in unreadable.items()]
    urls = ("file:///etc/hostname", "ftp://host/a.png", "s3://bucket/a.png", "javascript:alert(1)", "http://")
    return cases + _both(40, 400, r"subject_image: URL must be a valid HTTP or HTTPS URL", "subject_image", *urls)


def numbers() -> list[Case]:
    """Rows 11 to 34: the parameters, row by row."""
    between = r"output_quality: must be between 0 and 100"
    # 80.5 lies between 0 and 100: there the table's example text would mislead, and a text about integers is as good.
    whole = r"output_quality: must be (between 0 and 100|an integer.*)"
    strength, form = (
        r"material_strength: must be one of medium, strong",
        r"output_format: must be one of webp, jpg, png",
    )
    boolean = r"return_intermediate_images: must be a boolean"
    return [
        *_both(11, 200, "", "steps", 6.0, "6"),
        *_both(12, 400, r"steps: must be an integer", "steps", 6.5, "abc", True),
        *_both(13, 400, r"steps: must be at least 1", "steps", 0, -1),
        *_both(14, 400, r"steps: must be at most \d+", "steps", 100000),
        *_both(15, 200, "", "guidance_scale", 1, 10, "2.5"),
        *_both(16, 400, r"guidance_scale: must be between 1 and 10", "guidance_scale", 0.99, 10.01, -1),
        *_both(17, 400, strength, "material_strength", "weak", "STRONG", ""),
        *_both(18, 400, form, "output_format", "gif", "jpeg", "PNG"),
        *_both(19, 200, "", "output_quality", 0, 100),
        *_both(20, 400, between, "output_quality", 101, -1),
        *_both(20, 400, whole, "output_quality", 80.5),
        *[
            Case(21, f"quality {q} with png", 200, 200, changes={"output_format": "png", "output_quality": q})
            for q in (0, 100)
        ],
        *_both(22, 400, r"max_width: must be at least 64", "max_width", 1, 63, 0, -5),
        *_both(22, 400, r"max_height: must be at least 64", "max_height", 1, 63, 0, -5),
        *_both(23, 200, "", "max_width", 100000, 2**31 - 1),
        *_both(24, 400, r"max_width: must be an integer below 2147483648", "max_width", 10**30, 2**31),
        *_both(25, 200, "", "prompt", ""),
        *_both(25, 200, "", "negative_prompt", ""),
        *_both(26, 400, r"prompt: must be a string", "prompt", 5, ["a"]),
        *_both(27, 400, r"prompt: too long.*", "prompt", "x" * 10001),
        *_both(27, 200, "", "prompt", "é" * 10000),
        *_both(28, 200, "", "prompt", None),
        *_both(29, 200, "", "seed", None, ABSENT, -1, "-1"),
        *_both(30, 200, "", "seed", 0),
        *_both(31, 200, "", "seed", 17123564234, 10**16, "10000000000000000"),
        *_both(32, 400, r"seed: must be a non-negative integer or -1", "seed", -2, 1.5, True),
        *_both(33, 200, "", "return_intermediate_images", "true", 1),
        *_both(34, 400, boolean, "return_intermediate_images", "yes", 2),
        Case(
            35,
            "unknown parameters",
            200,
            200,
            changes={"foo": {"a": [1]}, "samples": "1", "timeout": 5, "interval": None},
        ),
    ]


def fetched() -> list[Case]:
    """Rows 41, 42, 44 and 48: pictures that turn out to be none, at job time where they come by URL."""
    no_download = r"subject_image: could not be downloaded.*"
    large = r"subject_image: image too large.*"
    small = r"subject_image: image too small.*"
    bomb = pictures.data_uri(pictures.png_of_zeros(30000, 30000))
    tiny = {
        f"{w}x{h}": pictures.data_uri(pictures.encoded(pictures.noise(w, h))) for w, h in ((1, 1), (63, 200), (200, 63))
    }
    by_url = {
        (41, "404", r"subject_image: could not be downloaded \(HTTP 404\)"): "{host}/missing.png",
        (41, "silent", no_download): "{host}/slow.png?seconds=20",
        (41, "trickle", no_download): "{host}/trickle.png?seconds=20",
        (41, "no such name", no_download): "http://no-such-host.invalid/subject.png",
        (41, "nobody listens", no_download): "http://127.0.0.1:9/subject.png",
        (42, "html", _UNREADABLE): "{host}/page.html",
        (42, "html called png", _UNREADABLE): "{host}/page.png",
        (42, "svg", _UNREADABLE): "{host}/drawing.svg",
        (44, "endless", large): "{host}/endless.png",
        (44, "bomb", large): "{host}/bomb.png",
    }
    return [
        *[Case(row, what, 400, FAILED, text, {"subject_image": url}) for (row, what, text), url in by_url.items()],
        Case(44, "bomb in the body", 400, REFUSED_OR_FAILED, large, {"subject_image": bomb}),
        *[Case(48, size, 400, REFUSED_OR_FAILED, small, {"subject_image": uri}) for size, uri in tiny.items()],
    ]


def unusual() -> list[Case]:
    """Rows 45 to 47: files that are pictures, if unusual ones."""
    kinds = pictures.unusual_pictures()
    animated = ("gif", "animated gif", "apng", "animated webp")
    cases = [
        Case(45 if kind in animated else 47, kind, 200, 200, changes={"subject_image": pictures.data_uri(kinds[kind])})
        for kind in kinds
    ]
    return [
        *cases,
        Case(
            46,
            "rotated jpeg",
            200,
            200,
            changes={"subject_image": pictures.data_uri(pictures.rotated_jpeg(), "image/jpeg")},
        ),
    ]


CASES = [*bodies(), *images(), *numbers(), *fetched(), *unusual()]
# Rows with a test function of their own: 6 is F-70, 36 and the finer points of other rows stand in test_edge_cases.py,
# 43 is test_fetch_guard.py.
ELSEWHERE = {6, 36, 43}
# Nothing that a client can send brings these about on a server without a content filter, or one that does not crash.
NOT_TO_BE_HAD = {
    49: "the product has no content filter that could block anything",
    50: "no request is known that makes a worker crash or run out of memory",
}
