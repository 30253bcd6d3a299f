"""`resnet50 bench`: choose rows, measure one after the other, show and write what came out."""

import json
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from resnet50.bench import epoch, hardware, inference, loader, prepare, startup, step
from resnet50.bench.process import BenchmarkProcess
from resnet50.bench.results import Measurement, sentence, show, summarize, write
from resnet50.bench.rounds import Rounds, Workload, alternate
from resnet50.bench.rows import Row, Scratch, Side
from resnet50.options import BenchOptions
from resnet50.runtime.console import progress, say, warn
from resnet50.runtime.errors import UserError, nearest


def bench(options: BenchOptions) -> list[Measurement]:
    """Measure, show and write the rows; what is measured is on disk after every row.

    Raises:
        UserError: there is no such row, a file that can't be written, or rows that could not be measured: the others
            are.
    """
    rows = choose(options.rows, full=options.full)
    check(options)
    machine = hardware.describe()
    say(hardware.in_words(machine))
    results: list[Measurement] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="resnet50-bench-") as folder:
        scratch = Scratch(Path(folder), options.dataset, options.full)
        for row in rows:
            if row.needs is not None and find_spec(row.needs) is None:
                say(f"{row.name}: skipped, as {row.needs} is not installed (pip install 'resnet50[{row.needs}]')")
                continue
            try:
                results.append(summarize(row, measure(row, scratch, options.rounds)))
            except UserError as error:
                warn(f"{row.name}: {error}")
                failed.append(row.name)
                continue
            say(sentence(results[-1]))
            if options.json is not None:
                write(options.json, results, machine)
    if results:
        show(results, rows)
    if failed:
        raise UserError(f"could not be measured, for the reasons above: {', '.join(failed)}")
    return results


def all_rows() -> list[Row]:
    """Return every row, in the order they are measured in."""
    subjects = (step, epoch, loader, inference, prepare, startup)
    return [row for subject in subjects for row in subject.rows()]


def choose(names: tuple[str, ...], *, full: bool) -> list[Row]:
    """Return the rows that are meant by names of rows and subjects; all without names.

    A subject goes before a row of the same name; rows that only --full measures can also be had by their names.
    """
    rows = all_rows()
    subjects = list(dict.fromkeys(row.subject for row in rows))
    known = [*subjects, *(row.name for row in rows if row.name not in subjects)]
    for name in names:
        if name not in known:
            raise UserError(f"there is nothing called {name!r} to measure{nearest(name, known)}: {', '.join(known)}")

    def meant(row: Row) -> bool:
        usual = full or not row.in_full_only
        return (row.name in names and row.name not in subjects) or (usual and (not names or row.subject in names))

    return [row for row in rows if meant(row)]


def check(options: BenchOptions) -> None:
    """Raise a UserError for what would only come to light after minutes."""
    if options.json is not None and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise UserError(f"--json {options.json}: give a file in a folder that exists")
    if options.dataset is not None:
        from resnet50.etl.prepared import load_prepared

        load_prepared(options.dataset).split("train")


def measure(row: Row, scratch: Scratch, rounds: int) -> Rounds:
    """Start the row's processes, let them take turns, and end them."""
    sides = row.sides(scratch)
    with ExitStack() as stack, progress(row.name, rounds, "rounds") as advance:
        children: dict[str, BenchmarkProcess] = {}

        def workload(side: Side) -> Workload:
            key = json.dumps([side.function, side.settings], sort_keys=True)
            if key not in children:
                children[key] = stack.enter_context(BenchmarkProcess(side.function, side.settings))
            return children[key].workload(side.workload)

        ours, baseline = workload(sides.ours), workload(sides.baseline)
        limit = None if sides.limit is None else workload(sides.limit)
        return alternate(ours, baseline, limit, rounds, advance)
