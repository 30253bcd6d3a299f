"""Files that are there whole or not at all."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resnet50.runtime.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Give a path to write to; once that is safely on the disk it takes the place of `path`.

    Whenever the power goes, `path` is what it was before, or all of the new. On an error nothing is left behind.

    Raises:
        UserError: the disk is full, or the folder can't be written to.
    """
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        flush(partial)
        partial.replace(path)
        flush(path.parent)
    except OSError as error:
        remove(partial)
        raise cannot_write(path, error) from error
    except BaseException:
        remove(partial)
        raise


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk and not just in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (error.errno in (errno.EINVAL, errno.EBADF) and path.is_dir()):  # some file systems can't for a folder
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file if it is there and can be removed."""
    try:
        path.unlink()
    except OSError:  # never there, or in a folder that has become read-only: the first error is the one to tell
        return


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error for a file that could not be written, with what can be done about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path} could not be written: the disk is full; make room, or choose another folder")
    reason = error.strerror or str(error)
    return UserError(f"{path} could not be written ({reason}): see to the folder, or choose another one")
