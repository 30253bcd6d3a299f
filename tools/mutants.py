"""Change the code in one place at a time, and see whether a test notices.

    python tools/mutants.py                       # draw 300 and try them (make mutants)
    python tools/mutants.py --count 20 --only 'etl/*'
    python tools/mutants.py --list                # draw only

A mutant is one small change: another comparison or operator, a number off by one, a condition negated, a statement
removed, two arguments swapped, `None` returned. Each room of `ROOMS` gives an equal share. A mutant is tried in a copy
of the tree, against the tests that mirror its module, until one fails; one that none fails survives, and is a reason
for a test. What was tried is in a log of JSON lines: started again, this goes on where it ended.
"""

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/resnet50"
ROOMS = {
    "training/loop": ("training/loop*.py", "training/loop/**/*.py", "training/metrics.py", "training/timer.py"),
    "data/transforms": ("data/transforms*.py", "data/transforms/**/*.py"),
    "etl/split": ("etl/split*.py", "etl/split/**/*.py"),
    "evaluation": ("evaluation/**/*.py",),
}
"""Where mutants are drawn, as globs below the package."""

TESTS = {
    "training/*": ("tests/training/test_loop*.py",),
    "evaluation/diagnostics/*": ("tests/evaluation/diagnostics/test_*.py", "tests/evaluation/test_*diagnostics*.py"),
}
"""Tests of modules beside those that have a module's own name."""

GRACE, SLOWER = 30.0, 5.0
"""Seconds, and times as long as without a mutant, that a module's tests may take before the mutant counts as killed."""

LIBRARIES = ("hypothesis", "matplotlib.pyplot", "pandas", "pytest", "sklearn.metrics", "torch", "torchvision")
"""Imported once, in the processes that are then forked for every mutant."""

MARKS = "not slow and not faults"
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file: the bytes from `start` to `end` become `after`."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    after: str
    digest: str
    """Of the file that is changed."""

    @property
    def key(self) -> str:
        """Return what tells it from all others, as long as its file stays the same."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def apply(self, source: bytes) -> bytes:
        """Return the changed source."""
        return source[: self.start] + self.after.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """Return the change as a unified diff."""
        old, new = (text.decode().splitlines(keepends=True) for text in (source, self.apply(source)))
        return "".join(difflib.unified_diff(old, new, self.file, self.file, n=1))


@dataclass(frozen=True)
class Outcome:
    """What the tests said of a mutant."""

    key: str
    outcome: str
    """killed, survived or timeout."""
    by: str
    """The test that failed."""
    seconds: float


# --- drawing ---------------------------------------------------------------------------------------------------------


def find_mutants(source: bytes, file: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    digest = hashlib.sha256(source).hexdigest()[:16]
    found: list[Mutant] = []
    for node in walk(ast.parse(source)):
        for kind, old, new in changes(node):
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[old.end_lineno - 1] + old.end_col_offset
            after = ast.unparse(new)
            if isinstance(new, ast.Compare | ast.BinOp | ast.BoolOp | ast.UnaryOp):
                after = f"({after})"
            found.append(Mutant(file, old.lineno, kind, start, end, source[start:end].decode(), after, digest))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.kind, mutant.after))


def walk(node: ast.AST) -> Iterator[Any]:
    """Yield the statements and expressions below a node, but annotations, decorators, docstrings and f-strings."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if name in ("annotation", "returns", "decorator_list") or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.JoinedStr) or (isinstance(child, ast.Expr) and is_constant(child.value)):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":  # of zip: what is right has equal lengths
                continue
            yield child
            yield from walk(child)


def changes(node: Any) -> Iterator[tuple[str, Any, ast.AST]]:  # noqa: PLR0912  # a kind of node is a case
    """Yield the kinds of change that a node allows, what is changed, and into what."""
    match node:
        case ast.Compare(left, [operator], right):
            yield "comparison", node, ast.Compare(left, [COMPARISONS[type(operator)]()], right)
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS and not is_constant(left, str):
            yield "operator", node, ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.AugAssign(target, operator, value):
            if type(operator) in OPERATORS:
                yield "operator", node, ast.AugAssign(target, OPERATORS[type(operator)](), value)
            yield "removed statement", node, ast.Pass()
        case ast.BoolOp(operator, values):
            yield "and/or", node, ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.Constant(bool(value)):
            yield "constant", node, ast.Constant(not value)
        case ast.Constant(int(value)):
            yield from (("constant", node, ast.Constant(other)) for other in (value + 1, value - 1))
        case ast.Constant(float(value)):
            yield from (("constant", node, ast.Constant(other)) for other in (2 * value or 1.0, value / 2 or -1.0))
        case ast.UnaryOp(ast.Not(), operand):
            yield "removed not", node, operand
        case ast.If(test) | ast.While(test) | ast.IfExp(test) if not isinstance(test, ast.UnaryOp | ast.Constant):
            yield "negated condition", test, ast.UnaryOp(ast.Not(), test)
        case ast.Call(function, [first, second, *rest], keywords):
            if not any(isinstance(value, ast.Starred) for value in (first, second)):
                yield "swapped arguments", node, ast.Call(function, [second, first, *rest], keywords)
        case ast.Return(ast.expr() as value) if not is_constant(value, type(None)):
            yield "returned None", node, ast.Return(ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield "removed statement", node, ast.Pass()
        case _:
            pass


def is_constant(node: ast.expr, kind: type = object) -> bool:
    """Return whether an expression is a constant, of a type."""
    return isinstance(node, ast.Constant) and isinstance(node.value, kind)


def draw(root: Path, count: int, seed: int, only: str = "*") -> list[Mutant]:
    """Draw mutants with a seed, an equal number from each of the rooms, and as many as there are from a small one."""
    drawn: list[Mutant] = []
    rooms = [files_of(root, globs, only) for globs in ROOMS.values()]
    rooms = [files for files in rooms if files]
    for number, files in enumerate(rooms):
        every = [mutant for file in files for mutant in find_mutants((root / file).read_bytes(), file)]
        share = count // len(rooms) + (number < count % len(rooms))
        drawn += random.Random(seed).sample(every, min(share, len(every)))  # noqa: S311
    return drawn


def files_of(root: Path, globs: Iterable[str], only: str) -> list[str]:
    """Return the modules of a room whose path below the package matches, in order."""
    package = root / PACKAGE
    found = {path.relative_to(package) for pattern in globs for path in package.glob(pattern)}
    return sorted(f"{PACKAGE}/{path.as_posix()}" for path in found if path.match(only) or only in path.as_posix())


# --- trying ----------------------------------------------------------------------------------------------------------


def mirrored_tests(root: Path, file: str) -> list[str]:
    """Return the tests that mirror a module, those of its own name first; without any, those of its room."""
    module = PurePath(file).relative_to(PACKAGE)
    room = root / "tests" / module.parent
    own = [*room.glob(f"test_{module.stem}.py"), *room.glob(f"test_{module.stem}_*.py")]
    own += [path for part in module.parts[:-1] for path in (root / "tests").rglob(f"test_{part}*.py")]
    more = [path for glob, tests in TESTS.items() if module.match(glob) for test in tests for path in root.glob(test)]
    found = own + more or list(room.glob("test_*.py"))
    return list(dict.fromkeys(path.relative_to(root).as_posix() for path in found))


class Workplace:
    """A copy of the tree in which a process tries one mutant after the other."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        for name in subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0"):
            if name and (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, folder / name)

    def run(self, mutant: Mutant) -> Outcome:
        """Try a mutant; its module is as it was when this is over."""
        path, tests = self.folder / mutant.file, mirrored_tests(self.folder, mutant.file)
        source = path.read_bytes()
        if mutant.file not in self.seconds:
            code, by, self.seconds[mutant.file] = self.test(tests, 3600)
            if code:
                raise RuntimeError(f"the tests of {mutant.file} fail without a mutant: {by}")
        try:
            path.write_bytes(mutant.apply(source))
            code, by, seconds = self.test(tests, GRACE + SLOWER * self.seconds[mutant.file])
        finally:
            path.write_bytes(source)
        outcome = {None: "timeout", 0: "survived"}.get(code, "killed")
        return Outcome(mutant.key, outcome, by, round(seconds, 1))

    def test(self, tests: list[str], limit: float) -> tuple[int | None, str, float]:
        """Run tests until one fails; return pytest's exit code (None: time was up), the test, and the seconds."""
        start, output = time.monotonic(), self.folder / "output.txt"
        child = os.fork()
        if not child:
            code = 1
            try:
                code = self.pytest(tests, output)
            finally:
                os._exit(code)
        code = wait(child, start + limit)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output.read_text(errors="replace"), re.MULTILINE)
        return code, failed[0] if failed else "", time.monotonic() - start

    def pytest(self, tests: list[str], output: Path) -> int:
        """Be the child: run pytest on the copy, in a process group of its own."""
        os.setsid()
        os.chdir(self.folder)
        sys.stdout = sys.stderr = output.open("w", encoding="utf-8")
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        os.environ |= {"PYTHONPATH": str(self.folder / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        sys.path[:0] = [str(self.folder / "src"), str(self.folder)]
        options = ["-x", "-q", "--tb=line", "-m", MARKS, "-p", "no:cacheprovider", f"--basetemp={self.folder / 'tmp'}"]
        find_but_dont_shrink()
        code = import_module("pytest").main([*options, *tests])
        sys.stdout.flush()
        return int(code)


def find_but_dont_shrink() -> None:
    """Let Hypothesis try the same examples of every mutant, and take the first that fails as it is."""
    hypothesis = import_module("hypothesis")
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", phases=phases, derandomize=True, database=None)
    hypothesis.settings.load_profile("mutants")


def wait(child: int, deadline: float) -> int | None:
    """Return the exit code of a process; end its group, and return None, when time is up."""
    ended = status = 0
    while not ended and time.monotonic() < deadline:
        time.sleep(0.02)
        ended, status = os.waitpid(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # also what the tests have left behind
    if not ended:
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(status)


def set_up(root: Path, folder: Path) -> None:
    """Prepare a process of the pool: a copy of the tree, and the libraries that tests would import again and again."""
    global place  # noqa: PLW0603  # what a process of the pool keeps from call to call
    for name in LIBRARIES:
        import_module(name)
    import_module("torch").set_num_threads(1)
    place = Workplace(root, Path(tempfile.mkdtemp(dir=folder)))


def try_mutant(mutant: Mutant) -> Outcome:
    """Try a mutant in this process of the pool."""
    return place.run(mutant)


place: Workplace


# --- the log and the table -------------------------------------------------------------------------------------------


def read_log(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was tried before, by key; the last line may be cut short."""
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    return {entry["key"]: entry for entry in map(json.loads, lines)}


def report(mutants: Sequence[Mutant], log: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of files, then every survivor."""
    tried = [mutant for mutant in mutants if mutant.key in log]
    counts = Counter((mutant.file, log[mutant.key]["outcome"]) for mutant in tried)
    for file in sorted({mutant.file for mutant in tried}):
        killed, survived = counts[file, "killed"] + counts[file, "timeout"], counts[file, "survived"]
        yield f"{file.removeprefix(PACKAGE + '/'):<50} {killed:4d} killed {survived:4d} survived"
    survivors = [mutant for mutant in tried if log[mutant.key]["outcome"] == "survived"]
    yield f"{len(tried) - len(survivors)} of {len(tried)} killed"
    for mutant in survivors:
        yield f"\n{mutant.key}: {mutant.kind}\n{log[mutant.key]['diff']}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, try what was not tried before, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mutants to draw (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="*", help="modules below the package, as a glob or a part of the path")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--list", action="store_true", help="draw only")
    options = parser.parse_args(arguments)
    mutants, log = draw(ROOT, options.count, options.seed, options.only), read_log(options.log)
    if options.list:
        print(*(f"{mutant.key}: {mutant.kind}\n{mutant.diff((ROOT / mutant.file).read_bytes())}" for mutant in mutants))
        return
    left = [mutant for mutant in mutants if mutant.key not in log]
    print(f"{len(mutants)} drawn, {len(mutants) - len(left)} tried before")
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with options.log.open("a", encoding="utf-8") as file:
        for number, (mutant, outcome) in enumerate(try_all(left, options.processes), 1):
            log[mutant.key] = asdict(outcome) | asdict(mutant)
            log[mutant.key]["diff"] = mutant.diff((ROOT / mutant.file).read_bytes())
            file.write(json.dumps(log[mutant.key]) + "\n")
            file.flush()
            place = f"{mutant.file.removeprefix(PACKAGE + '/')}:{mutant.line}"
            print(
                f"{number}/{len(left)} {outcome.outcome:<8} {outcome.seconds:5.1f} s  {place}  {mutant.kind}",
                flush=True,
            )
    print("\n".join(report(mutants, log)))


def try_all(mutants: Sequence[Mutant], processes: int) -> Iterator[tuple[Mutant, Outcome]]:
    """Yield mutants with what became of them, as they are tried in so many processes."""
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ProcessPoolExecutor(processes, get_context("spawn"), set_up, (ROOT, Path(folder))) as pool,
    ):
        trials = {pool.submit(try_mutant, mutant): mutant for mutant in mutants}
        for trial in as_completed(trials):
            yield trials[trial], trial.result()


if __name__ == "__main__":
    main()
