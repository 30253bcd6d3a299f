"""What a source lacks to be read: the errors for sources without labels, without images, or with neither."""

from resnet50.etl.embedded import unreadable_containers
from resnet50.etl.files import FileIndex, parent
from resnet50.etl.source.labels import kind_of_labels
from resnet50.etl.source.table_sets import TableSet
from resnet50.etl.source.tables import Table
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError


def no_labels(one: TableSet) -> UserError:
    """Return the error for tables that name images and have no column of labels."""
    frame = one.tables[0].table.frame
    for name in reversed(list(map(str, frame.columns))):
        kind = kind_of_labels(frame[name])
        if name != one.tables[0].id_column and kind.number:
            return UserError(
                f"{one.names()} has a number per image in column {name!r} ({kind.reason}) and no class: predicting "
                "numbers is not supported; make a column with a few classes from it, such as low and high"
            )
    return UserError(
        f"{one.names()} names images in column {one.tables[0].id_column!r}, but has no column that could be labels"
    )


def nothing_found(options: PrepareOptions, files: FileIndex, passed_over: list[str]) -> UserError:
    """Return the error for a source without labels; it names files that can't be read as they are."""
    reasons = unreadable_containers(files) or passed_over[:3]
    images = files.images()
    folders = sorted(set(parent(images)))
    if not reasons and len(folders) == 1 and folders[0]:
        return UserError(
            f"all {len(images):,} images of {options.source} are in one folder, {folders[0]}, and one class can't be "
            "told from another: add the folders of the others, or a table that names each image's label"
        )
    message = f"{options.source} has neither a table whose rows refer to images nor class folders with images"
    return UserError("; ".join([message, *reasons]))


def no_images(options: PrepareOptions, table: Table, files: FileIndex) -> UserError:
    """Return the error for a table none of whose rows has an image."""
    images, packed = files.images(), unreadable_containers(files)
    content = f"the folder holds files such as {images.iloc[0]!r}" if len(images) else "the folder holds no images"
    name = options.id_column or str(table.frame.columns[0])
    advice = "name the folder with --images, the column with --id-column, or the pattern with --path-template"
    return UserError(
        f"none of the {len(table.frame):,} rows of {table.path.name} has an image in {files.folder}: column "
        f"{name!r} has values such as {table.frame[name].iloc[0]!r}, but {content}; {'; '.join(packed) or advice}"
    )
