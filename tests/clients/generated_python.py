"""A transfer by the client that openapi-python-client has made: JSON over v2, a form over v1. Its folder, the base address,
a key and the two pictures come as arguments; what came of it is printed as JSON."""

import base64
import json
import sys
import time
from pathlib import Path

folder, base, key, subject, material = sys.argv[1:]
sys.path.insert(0, folder)

from material_transfer_client import AuthenticatedClient  # noqa: E402
from material_transfer_client.api.one_call_v1 import transfer  # noqa: E402
from material_transfer_client.api.submit_and_poll_v2 import get_result, get_status, submit_transfer  # noqa: E402
from material_transfer_client.models import TransferForm, TransferRequest  # noqa: E402
from material_transfer_client.types import File  # noqa: E402

client = AuthenticatedClient(base_url=base, token=key, prefix="", auth_header_name="x-api-key")


def inline(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


body = TransferRequest(
    subject_image=inline(subject), material_image=inline(material), steps=1, seed=7, max_width=128
)
submitted = submit_transfer.sync(client=client, body=body)
while (status := get_status.sync(submitted.request_id, client=client)).status in ("QUEUED", "PROCESSING"):
    time.sleep(0.1)
result = get_result.sync(submitted.request_id, client=client)

form = TransferForm(
    subject_image=File(payload=open(subject, "rb"), file_name="subject.png", mime_type="image/png"),
    material_image=File(payload=open(material, "rb"), file_name="material.png", mime_type="image/png"),
    steps=1,
    seed=7,
    max_width=128,
)
answer = transfer.sync_detailed(client=client, body=form)
print(
    json.dumps(
        {
            "status": str(result.status),
            "seed": result.seed,
            "width": result.images[0].width,
            "v1": [int(answer.status_code), answer.headers.get("content-type"), len(answer.content)],
            "picture": answer.content[:4].decode("latin-1"),
        }
    )
)
