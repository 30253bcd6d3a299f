"""Count what `prepare` makes of generated layouts, by kind, and show what it gets wrong.

python -m tests.etl.layouts.survey [COUNT] [EXAMPLES_SHOWN]
"""

# ruff: noqa: T201  # what it finds is for the terminal

import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.etl.layouts.grammar import layouts
from tests.etl.layouts.layout import Layout, run

WORDS = ("right", "asked", "refused", "stopped", "misled", "WRONG", "BUG")


def main(count: int = 200, shown: int = 5) -> None:
    """Print a table of outcomes by kind, then the failures."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    failures: list[str] = []

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(layouts())
    def look(drawn: tuple[str, Layout]) -> None:
        kind, layout = drawn
        try:
            with tempfile.TemporaryDirectory(prefix="layout-") as folder:
                outcome = run(layout, Path(folder))
            word, why = outcome.word, outcome.why
        except Exception as error:  # a bug: counted, and the survey goes on
            word, why = "BUG", repr(error)
        outcomes[kind][word] += 1
        if word in ("misled", "WRONG", "BUG"):
            failures.append(f"{word} {kind}: {why}\n{layout}")

    look()
    total = sum(outcomes.values(), Counter[str]())
    print(f"| {'kind':35} | {' | '.join(f'{word:>7}' for word in WORDS)} |")
    print(f"| {'-' * 35} | {' | '.join('------:' for _ in WORDS)} |")
    for kind, counts in [*sorted(outcomes.items()), ("all", total)]:
        print(f"| {kind:35} | {' | '.join(f'{counts[word]:7}' for word in WORDS)} |")
    print("\n\n".join(failures[:shown]))


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:]])
