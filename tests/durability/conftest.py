"""The one option: how often the server is killed."""


def pytest_addoption(parser):
    group = parser.getgroup("material-transfer")
    group.addoption("--rounds", type=int, default=10, help="how often the server is killed (10)")
