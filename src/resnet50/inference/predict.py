"""`resnet50 predict`: classify image files; print the likeliest classes; write a CSV or a competition's submission."""

import hashlib
import os
from pathlib import Path

import pandas as pd

from resnet50.inference.batch import digest_of_work, make_engine
from resnet50.inference.classifier import Classifier
from resnet50.inference.files import find_images
from resnet50.inference.joining import errors_file, join
from resnet50.inference.outputs import make_output
from resnet50.inference.parts import PartFolder, parts_in
from resnet50.inference.template import read_template
from resnet50.inference.work import Work
from resnet50.model.file import load_model, model_file
from resnet50.options import PredictOptions
from resnet50.runtime.atomic import check_writable
from resnet50.runtime.console import rank_zero_output, say
from resnet50.runtime.device import limit_threads, resolve_device
from resnet50.runtime.distributed import Distributed, process_group
from resnet50.runtime.errors import Incomplete, UserError
from resnet50.runtime.sharding import check_sharding


def predict(options: PredictOptions) -> None:
    """Classify image files, print the likeliest classes of the first ones, and write the CSV if `out` is given.

    Raises:
        UserError: There is no such model, there are no images, the output can't be written, or the template doesn't
            fit; with `strict`, an image can't be read.
        Incomplete: All is written, but some images could not be read.
    """
    check(options)
    with process_group() as dist, rank_zero_output(dist.rank):
        unreadable = classify_files(options, dist)
    if unreadable:
        raise Incomplete(unreadable)


def check(options: PredictOptions) -> None:
    """Raise a UserError for options that don't go together, and for an output that can't be written."""
    check_sharding(options.shard, options.merge)
    if options.out is None and (options.shard is not None or options.merge is not None or options.resume):
        raise UserError("--shard, --merge and --resume need --out FILE.csv: results are kept beside it")
    if options.resume and options.overwrite:
        raise UserError("--resume continues an interrupted run, --overwrite starts it afresh: give one of the two")
    if options.format == "submission" and (options.template is None or options.out is None):
        raise UserError("--format submission needs --template sample_submission.csv and --out FILE.csv")
    if options.format == "table" and (options.template is not None or options.submit is not None):
        raise UserError("--template and --submit need --format submission")
    if options.template is not None:
        read_template(options.template)
    if options.out is not None:
        check_output(options, options.out)


def check_output(options: PredictOptions, out: Path) -> None:
    """Raise a UserError if the results can't be written, or something is there already."""
    if out.is_dir():
        raise UserError(f"{out} is a folder: give the name of a CSV file")
    joining = options.resume or options.merge is not None  # the last one may have been killed after the table of errors
    for path in (out,) if joining else (out, errors_file(out)):
        if path.exists() and not options.overwrite:
            raise UserError(f"{path} already exists: choose another name, or add --overwrite")
    alone = options.shard is None and options.merge is None
    if alone and not options.resume and not options.overwrite and parts_in(parts_folder(out)):
        raise UserError(
            f"{parts_folder(out)} holds the results of an interrupted run: add --resume to continue it, or --overwrite "
            "to start afresh",
            [{"resume": "true"}, {"overwrite": "true"}],
        )
    check_writable(out)


def check_inputs_stay(options: PredictOptions, images: "pd.Series[str]") -> None:
    """Raise a UserError if the results would replace the template, the model or one of the images."""
    if options.out is None or not options.out.exists():
        return
    inputs = [model_file(options.run), *([options.template] if options.template else [])]
    names = images[images.str.endswith(options.out.name)]
    for path in (*inputs, *map(Path, names)):
        if path.exists() and path.samefile(options.out):
            raise UserError(f"--out {options.out} would replace {path}, which is read: choose another name")


def parts_folder(out: Path) -> Path:
    return Path(f"{out}.parts")


def classify_files(options: PredictOptions, dist: Distributed) -> str:
    """Do the work, or a shard of it; return a line about the images that can't be read, if there are any."""
    images = find_images(options.images)
    limit_threads()
    device = resolve_device(options.device, options.precision, dist)
    classifier = Classifier(load_model(options.run), device, options.engine)
    output = make_output(options, images, classifier.classes)
    check_inputs_stay(options, images)
    engine = make_engine(classifier, options.batch_size, len(output.paths))
    work = Work(options, output, classifier, engine, dist)
    if options.out is None:
        return work.show()
    digest = digest_of_work(classifier, engine, options, digest_of_files(output.paths), output.identity)
    folder = PartFolder(parts_folder(options.out), digest)
    dist.barrier()  # every process has checked the output before one begins to write it
    if options.merge is None:
        work.write_parts(folder)
    if options.shard is not None:
        say(f"shard {options.shard} is in {folder.folder}; --merge puts the shards together once all are there")
        return ""
    unreadable = join(options, output, folder) if dist.is_main else ""
    dist.barrier()
    folder.remove()
    return unreadable


def digest_of_files(paths: "pd.Series[str]") -> bytes:
    """Identify image files by their names and sizes."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\0{size_of(path)}\0".encode())
    return digest.digest()


def size_of(path: str) -> int | None:
    """Return the size of a file in bytes, None for one that isn't there."""
    try:
        return os.stat(path).st_size  # noqa: PTH116  # a Path for each of a million files takes seconds
    except OSError:
        return None
