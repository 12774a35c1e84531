"""The file of API keys: written atomically, readable by its owner only, and read again when it changes."""

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from task_status_service.access.api_keys import KeyFile, Keyring
from task_status_service.errors import KeysUnreadable

log = logging.getLogger(__name__)

#: seconds between checks of the file for a change; a revoked key stays valid for up to this long
CHECK_SECONDS: Final = 1.0
_FOR_OTHERS: Final = 0o007

_decode = msgspec.json.Decoder(KeyFile, strict=True).decode


def read(path: Path) -> KeyFile:
    """Read a keys file.

    Raises:
        KeysUnreadable: The file is missing, not readable, or not a keys file.
    """
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise KeysUnreadable(
            f"The keys file {path} cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error
    except msgspec.MsgspecError as error:
        # The error must not quote the contents, which may be secret.
        raise KeysUnreadable(
            f"The keys file {path} is not a keys file: {error}. Create one with `task-status keys add`."
        ) from error


def change(path: Path, to: Callable[[KeyFile], KeyFile]) -> None:
    """Change a keys file, or create it, under a lock; concurrent readers read the old contents.

    Raises:
        KeysUnreadable: The file exists and cannot be read, or it cannot be written.
    """
    try:
        with _locked(path.parent):
            _write(path, to(read(path) if path.exists() else KeyFile.new()))
    except OSError as error:
        raise KeysUnreadable(
            f"The keys file {path} cannot be written: {error.strerror}. Check the permissions of its directory."
        ) from error


def _write(path: Path, kept: KeyFile) -> None:
    # mkstemp creates a file that only its owner can read, and a rename is atomic.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            with contextlib.suppress(OSError):
                # Root may change the file of the user that runs the server: keep its owner.
                before = path.stat()
                os.fchown(number, before.st_uid, before.st_gid)
            file.write(msgspec.json.format(msgspec.json.encode(kept, order="deterministic"), indent=2) + b"\n")
            file.flush()
            os.fsync(number)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


class LiveKeyring:
    """The keys of a file, read again when it changes. If that fails, the last keys remain valid."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            KeysUnreadable: The file cannot be read.
        """
        self._path = path
        self._clock = clock
        self._seen = self._fingerprint()
        self._keyring = Keyring(read(path))
        self._next_check = clock() + CHECK_SECONDS

    def current(self) -> Keyring:
        """Return the keys; read the file again if it has changed, at most once in `CHECK_SECONDS`."""
        now = self._clock()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self._read_if_changed()
        return self._keyring

    def _read_if_changed(self) -> None:
        seen = self._fingerprint()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keyring = Keyring(read(self._path))
        except KeysUnreadable as error:
            log.error("%s The keys that were read before remain valid.", error)  # noqa: TRY400 - a traceback adds nothing
        else:
            log.info("The keys file has changed and was read again.")

    def _fingerprint(self) -> object:
        """Return a value that differs whenever the file does."""
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        if found.st_mode & _FOR_OTHERS:
            log.warning("The keys file %s is accessible to all users of this machine: run chmod 600 on it.", self._path)
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
