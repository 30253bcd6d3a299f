"""Atomic file writes: a file is written completely or not at all."""

import errno
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resnet50.runtime.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Yield a temporary path; on success its file replaces `path`, after a flush to disk.

    After a crash or a power failure, `path` holds either its old content or all of the new one. On an error the
    temporary file is removed.

    Raises:
        UserError: the disk is full, or the folder is not writable.
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
    """Flush a file, or the entries of a folder, from memory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (error.errno in (errno.EINVAL, errno.EBADF) and path.is_dir()):  # some file systems can't flush a folder
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file if it exists and can be removed."""
    try:
        path.unlink()
    except OSError:  # missing, or the folder has become read-only: the first error is the one to report
        return


def check_writable(path: Path) -> None:
    """Raise a UserError unless a file can be written at `path`; folders above it may be missing."""
    parent = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=parent):  # permissions alone don't tell: the file system may be read-only
            pass
    except OSError as error:
        raise UserError(f"{path} can't be written to ({error.strerror}): choose another place") from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error for a file that could not be written, with advice by its cause."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path} could not be written: the disk is full; free some space, or choose another folder")
    reason = error.strerror or str(error)
    return UserError(f"{path} could not be written ({reason}): check the folder, or choose another one")
