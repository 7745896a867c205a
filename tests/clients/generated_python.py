"""A transfer by the client that openapi-python-client has made: over v2 and over v1. Its folder, the base address,
a key and the two pictures come as arguments; what came of it is printed as JSON."""

import base64
import json
import sys
import time
from pathlib import Path

folder, base, key, subject, material = sys.argv[1:]
sys.path.insert(0, folder)

from material_transfer_client import AuthenticatedClient  # noqa: E402
from material_transfer_client.api.one_call_v_1 import transfer  # noqa: E402
from material_transfer_client.api.submit_and_poll_v_2 import get_result, get_status, submit_transfer  # noqa: E402
from material_transfer_client.models import TransferRequest  # noqa: E402

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

# The same over v1, as base64: the generator has no type for an answer that is a picture, and sends a form without a boundary,
# which no server can read.
body.base64 = True
answer = transfer.sync_detailed(client=client, body=body)
picture = base64.b64decode(json.loads(answer.content)["image"])
print(
    json.dumps(
        {
            "status": str(result.status),
            "seed": result.seed,
            "width": result.images[0].width,
            "v1": [int(answer.status_code), answer.headers.get("content-type"), len(answer.content)],
            "picture": picture[:4].decode("latin-1"),
        }
    )
)
