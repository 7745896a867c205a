"""A pytest plug-in that closes the run with the line that CI reads: `N passed, N failed, N skipped`. An error in a
fixture counts as a failure. Where tests carry the ids of F.2 in their names, those are listed by outcome first."""

import re

RANK = {"passed": 0, "skipped": 1, "failed": 2}
_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report):
    """One outcome a test: the worst of its phases."""
    outcome = "failed" if report.failed else "skipped" if report.skipped else "passed"
    _outcomes[report.nodeid] = max(outcome, _outcomes.get(report.nodeid, "passed"), key=RANK.__getitem__)


def closing_lines() -> list[str]:
    """The cases of F.2, each as bad as the worst of its tests; then the count."""
    cases: dict[str, str] = {}
    for node, outcome in _outcomes.items():
        if match := re.search(r"test_f(\d\d)_", node):
            case = f"F-{match[1]}"
            cases[case] = max(outcome, cases.get(case, "passed"), key=RANK.__getitem__)
    lines = []
    for outcome in RANK:
        ids = sorted(case for case, its in cases.items() if its == outcome)
        if ids:
            lines.append(f"F.2 cases {outcome}: {len(ids)} ({' '.join(ids)})")
    count = {outcome: list(_outcomes.values()).count(outcome) for outcome in RANK}
    return [*lines, f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"]


def pytest_unconfigure(config):
    if not config.getoption("collectonly", default=False):
        print("\n" + "\n".join(closing_lines()), flush=True)
