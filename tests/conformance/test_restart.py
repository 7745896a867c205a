"""F-73: nothing that was accepted is lost, whether the server is asked to stop or is killed."""

import pytest

import workload
from client import TERMINAL, Api, image_of
from material_server import KEY


@pytest.mark.parametrize("way", ["stop", "kill"])
@pytest.mark.timeout(400)
def test_f73_restart(servers, tmp_path, way):
    server = servers.new("default", tmp_path)
    server.start()
    try:
        api = Api(server.base, KEY)
        done = api.submit()
        assert api.wait(done).json()["status"] == "COMPLETED"
        result = api.get(done["response_url"])
        picture = api.get(result.json()["output"], headers={}).content
        changes, _ = workload.done_in_at_least(api, 1.5)
        running, queued, last = api.submit(**changes), api.submit(**changes), api.submit()
        getattr(server, way)()
        assert not server.running()
        api.http.close()

        server.start()
        api = Api(server.base, KEY)
        again = api.get(done["response_url"])
        assert again.status_code == 200 and again.content == result.content
        assert image_of(api.get(again.json()["output"], headers={})) == picture
        for job in (running, queued, last):
            ended = api.wait(job).json()
            assert ended["status"] in TERMINAL
            # E: an interrupted job is run once more (issue 2), so here all of them reach COMPLETED.
            assert ended["status"] == "COMPLETED", ended
    finally:
        server.kill()
