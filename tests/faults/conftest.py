"""The table at the end of `make test-faults`: fault, tries, survived, lost."""

from collections import Counter

import pytest

FAULTS = (
    "tests/faults/",
    "tests/training/recovery/",
    "tests/runtime/test_sharding",
    "tests/etl/layouts/test_generated",
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print a line for each fault that was injected, when all of them are asked for."""
    if config.getoption("markexpr") != "faults or not faults":
        return
    tries, survived = Counter[str](), Counter[str]()
    for outcome in ("passed", "failed", "error", "skipped"):  # what was not tried has not survived
        for report in terminalreporter.getreports(outcome):
            if report.nodeid.startswith(FAULTS):
                fault = report.nodeid.split("::")[-1].split("[")[0].removeprefix("test_").replace("_", " ")
                count = int(dict(report.user_properties).get("tries", 1))  # pyright: ignore[reportArgumentType]
                tries[fault] += count
                survived[fault] += count if outcome == "passed" else 0
    width = max(map(len, tries), default=5)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"| {'fault':<{width}} | tries | survived | lost |")
    terminalreporter.write_line(f"| {'-' * width} | ----: | -------: | ---: |")
    for fault, count in tries.items():
        lost = count - survived[fault]
        terminalreporter.write_line(f"| {fault:<{width}} | {count:5d} | {survived[fault]:8d} | {lost:4d} |")
