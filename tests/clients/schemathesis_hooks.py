"""What no schema can say: that a text is a picture. A generated request that has pictures at all gets real ones, so that the
rest of it is put to the test."""

import base64
import io

import schemathesis
from PIL import Image

_NAMES = ("subject_image", "material_image")


def _picture(side: int) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(out, "PNG")
    return out.getvalue()


PICTURE = _picture(96)
TEXT = base64.b64encode(PICTURE).decode()


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    changed = dict(body)
    for name in _NAMES:
        if isinstance(changed.get(name), bytes):
            changed[name] = PICTURE
        elif isinstance(changed.get(name), str) and changed[name]:
            changed[name] = TEXT
    urls = changed.get("data_urls")
    if isinstance(urls, list) and all(isinstance(url, str) and url for url in urls):
        changed["data_urls"] = [f"data:image/png;base64,{TEXT}" for _ in urls]
    return changed
