"""The file that keeps API keys: written whole or not at all, for one's own eyes, read again when it changes."""

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

#: how often a server looks whether the file has changed: a key that is revoked counts for so long, and no longer
CHECK_SECONDS: Final = 1.0
_FOR_OTHERS: Final = 0o007

_decode = msgspec.json.Decoder(KeyFile, strict=True).decode


def read(path: Path) -> KeyFile:
    """Read a keys file.

    Raises:
        KeysUnreadable: there is none, it may not be read, or it holds something else.
    """
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise KeysUnreadable(f"The keys file {path} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        # Not what it holds: that may be a secret.
        raise KeysUnreadable(f"The keys file {path} holds no keys: {error}.") from error


def change(path: Path, to: Callable[[KeyFile], KeyFile]) -> None:
    """Change what a keys file holds, or make one, one at a time; whoever reads meanwhile reads what was there before.

    Raises:
        KeysUnreadable: there is one that cannot be read, or it cannot be written.
    """
    try:
        with _only_one(path.parent):
            _write(path, to(read(path) if path.exists() else KeyFile.new()))
    except OSError as error:
        raise KeysUnreadable(f"The keys file {path} cannot be written: {error.strerror}.") from error


def _write(path: Path, kept: KeyFile) -> None:
    # mkstemp makes a file that nobody else may read, and rename puts it there at once.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            with contextlib.suppress(OSError):
                # Root changes it for the user that the server runs as.
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
def _only_one(folder: Path) -> Iterator[None]:
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


class LiveKeyring:
    """Hold the keys of a file as it is now, or as it last could be read: `current`, and how often that was another."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            KeysUnreadable: it cannot be.
        """
        self._path = path
        self._clock = clock
        self._seen = self._look()
        self._keyring = Keyring(read(path))
        self._looks_at = clock() + CHECK_SECONDS

    def current(self) -> Keyring:
        """Return the keys; read the file again if it has changed, at most once in `CHECK_SECONDS`."""
        now = self._clock()
        if now >= self._looks_at:
            self._looks_at = now + CHECK_SECONDS
            self._read_if_changed()
        return self._keyring

    def _read_if_changed(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keyring = Keyring(read(self._path))
        except KeysUnreadable as error:
            log.error("%s The keys that were read before go on counting.", error)  # noqa: TRY400 - it says enough
        else:
            log.info("The keys have changed and were read again.")

    def _look(self) -> object:
        """Give what is another when the file is."""
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        if found.st_mode & _FOR_OTHERS:
            log.warning("Everybody on this machine may read the keys file %s: chmod 600 it.", self._path)
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
