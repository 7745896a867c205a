"""The servers that all tests share, and how long the long ones are."""

import pytest

from servers import Cluster, ObjectStore, Postgres


def pytest_addoption(parser):
    group = parser.getgroup("material-transfer")
    group.addoption("--kills", type=int, default=12, help="how many processes are killed (12)")
    group.addoption("--conformance", action="store_true", help="the HTTP conformance suite against three nodes")
    group.addoption("--jobs", type=int, default=40, help="how many jobs are run to see that memory stays flat (40)")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    server = Postgres(tmp_path_factory.mktemp("postgres") / "server")
    yield server
    server.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    server = ObjectStore(tmp_path_factory.mktemp("objects"))
    yield server
    server.close()


@pytest.fixture
def cluster(tmp_path, postgres, store):
    """cluster(**settings) -> a Cluster; its processes end with the test."""
    made = []

    def make(**settings) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster-{len(made)}", postgres, store, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
    store.misbehave("none")
