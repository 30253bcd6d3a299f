"""`resnet50 bench`: choose rows, measure one after the other, print and write the results."""

import json
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from resnet50.bench import epoch, hardware, inference, loader, predict, prepare, startup, step
from resnet50.bench.process import BenchmarkProcess
from resnet50.bench.results import Measurement, show, summarize, summary_line, write
from resnet50.bench.rounds import Rounds, Workload, alternate
from resnet50.bench.rows import Row, Scratch, Side
from resnet50.options import BenchOptions
from resnet50.runtime.console import progress, say, warn
from resnet50.runtime.errors import UserError, nearest


def bench(options: BenchOptions) -> list[Measurement]:
    """Measure the rows, print and write the results; the file is updated after every row.

    Raises:
        UserError: a row doesn't exist, the file can't be written, or some rows could not be measured (the others are).
    """
    rows = choose(options.rows, full=options.full)
    check(options)
    machine = hardware.describe()
    say(hardware.format_machine(machine))
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
            say(summary_line(results[-1]))
            if options.json is not None:
                write(options.json, results, machine)
    if results:
        show(results, rows)
    if failed:
        raise UserError(f"these rows could not be measured, for the reasons above: {', '.join(failed)}")
    return results


def all_rows() -> list[Row]:
    subjects = (step, epoch, loader, inference, predict, prepare, startup)
    return [row for subject in subjects for row in subject.rows()]


def choose(names: tuple[str, ...], *, full: bool) -> list[Row]:
    """Return the rows selected by names of rows and subjects; all without names.

    A subject has precedence over a row of the same name. Rows of --full can also be selected by their names.
    """
    rows = all_rows()
    subjects = list(dict.fromkeys(row.subject for row in rows))
    known = [*subjects, *(row.name for row in rows if row.name not in subjects)]
    for name in names:
        if name not in known:
            raise UserError(f"no row or subject {name!r}{nearest(name, known)}; there are {', '.join(known)}")

    def is_chosen(row: Row) -> bool:
        included = full or not row.in_full_only
        return (row.name in names and row.name not in subjects) or (included and (not names or row.subject in names))

    return [row for row in rows if is_chosen(row)]


def check(options: BenchOptions) -> None:
    """Raise a UserError for errors that would otherwise appear after minutes."""
    if options.json is not None and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise UserError(f"--json {options.json}: give a file in a folder that exists")
    if options.dataset is not None:
        from resnet50.etl.prepared import load_prepared

        load_prepared(options.dataset).split("train")


def measure(row: Row, scratch: Scratch, rounds: int) -> Rounds:
    """Start the processes of a row, measure its rounds, and end them."""
    sides = row.sides(scratch)
    with ExitStack() as stack, progress(row.name, rounds, "rounds") as advance:
        children: dict[str, BenchmarkProcess] = {}

        def workload(side: Side) -> Workload:
            key = json.dumps([side.function, side.settings], sort_keys=True)
            if key not in children:
                children[key] = stack.enter_context(BenchmarkProcess(side.function, side.settings))
            return children[key].workload(side.workload)

        candidate, baseline = workload(sides.candidate), workload(sides.baseline)
        limit = None if sides.limit is None else workload(sides.limit)
        return alternate(candidate, baseline, limit, rounds, advance)
