"""Nodes are exchanged under load, politely."""

import time

from load import Load, look_again
from servers import haproxy
from test_deaths import in_the_end


def test_a_rolling_update_refuses_nobody(cluster, tmp_path):
    """Each node is told to stop, drains, and another one takes its place; jobs wait and run all the while."""
    nodes = cluster()
    apis, workers = [nodes.api().start() for _ in range(2)], [nodes.worker().start() for _ in range(2)]
    proxy = haproxy(tmp_path, [node.port for node in apis])
    base = f"http://127.0.0.1:{proxy.port}"
    try:
        load = Load(base, 4)
        time.sleep(1)
        for node in [*apis, *workers]:
            assert node.stop() == 0, node.tail()
            node.start()
            time.sleep(0.5)
        promises = load.finish()
        look_again(base, promises)
        assert all(promise.status == "COMPLETED" for promise in promises)
        in_the_end(nodes, load, promises, 0)
        assert int(nodes.sql("SELECT count(*) FROM @jobs WHERE retry_count > 0")) == 0, "nothing was interrupted"
    finally:
        proxy.close()


def test_tables_of_a_newer_program_are_refused(cluster):
    nodes = cluster()
    api = nodes.api().start()
    assert api.stop() == 0
    nodes.sql("INSERT INTO @migrations (version, oldest, program) VALUES (1000, 1, 'newer, and this one may take part')")
    api.start()
    assert api.stop() == 0
    nodes.sql("UPDATE @migrations SET oldest = 999 WHERE version = 1000")
    try:
        api.start()
    except RuntimeError as error:
        assert "use a newer program" in str(error)
    else:
        raise AssertionError("it started on tables that it cannot know")
