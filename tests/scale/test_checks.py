"""The operator's checker where nodes share a home: those with the API have inputs checked, those that work have results checked."""

import base64
import sys
import time
from io import BytesIO

from PIL import Image

from client import Api
from material_server import KEY, ROOT

sys.path.append(str(ROOT / "tests/clients"))
from checker import Service  # noqa: E402


def test_both_ends_are_checked_on_nodes_of_their_own(cluster):
    service = Service()
    nodes = cluster(check_url=service.url)
    base = nodes.api().start().base
    nodes.worker().start()
    api = Api(base, KEY)
    answer = api.v1()
    assert answer.status_code == 200, answer.text
    assert sorted(service.names()) == [("input", "material_image"), ("input", "subject_image"), ("output", "output")]
    stored = BytesIO()
    Image.new("RGB", (96, 96), (9, 9, 9)).save(stored, "PNG")
    refused = api.v1(material_image="data:image/png;base64," + base64.b64encode(stored.getvalue()).decode())
    assert refused.status_code == 400 and refused.json()["error"].startswith("Content blocked: material_image")
    ends = time.monotonic() + 20
    while len(nodes.store.objects()) > 1 and time.monotonic() < ends:
        time.sleep(0.2)
    assert len(nodes.store.objects()) <= 1, "the result of the first job, and nothing of the second"
    service.shutdown()
