"""The options: how often the server is killed, paused, and its clock moved."""


def pytest_addoption(parser):
    group = parser.getgroup("material-transfer")
    group.addoption("--rounds", type=int, default=10, help="how often the server is killed (10)")
    group.addoption("--pauses", type=int, default=4, help="how often it is paused for longer than a lease (4)")
    group.addoption("--jumps", type=int, default=4, help="how often its clock jumps by two hours (4)")
    group.addoption("--fillings", type=int, default=2, help="how often its disk is filled at each step (2)")
