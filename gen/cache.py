"""A cache, outside of the tree, of what is slow to make: Verilog, programs, simulators."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import platformdirs

from .errors import OarlockError


__all__ = [
    "CacheError", "Progress", "cache_root", "cached", "cold", "key_of", "no_progress",
    "source_hash",
]

#: Called as ``progress(stage, done, total)`` from the thread that works; a total of 0 is unknown.
Progress = Callable[[str, int, int], None]

#: Entries of one kind that are kept; those unused for longest go first.
KEPT_ENTRIES = 64


_STARTED = time.time()

#: Where entries are inside of :func:`cold`.
_COLD: ContextVar[Path | None] = ContextVar("_COLD", default=None)


class CacheError(OarlockError):
    """The folder of the cache cannot be written."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""


def cache_root() -> Path:
    """Return the folder of the cache: ``$OARLOCK_CACHE``, else the system's place for such."""
    return Path(os.environ.get("OARLOCK_CACHE") or platformdirs.user_cache_dir("oarlock"))


@contextmanager
def cold() -> Iterator[None]:
    """Begin with an empty cache, and forget in the end what was made: for taking times."""
    with tempfile.TemporaryDirectory(prefix="oarlock-cold-") as folder:
        token = _COLD.set(Path(folder))
        try:
            yield
        finally:
            _COLD.reset(token)


def key_of(*parts: object) -> str:
    """Return a file name that stands for these texts, numbers and bytes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def source_hash(*patterns: str) -> str:
    """Return a hash of all files of the package that match, e.g. ``"hw/**/*.py"``.

    What has changed since this process began may not be what it has imported: then the hash is
    this process's own, so that nobody else finds what it makes.
    """
    package = Path(__file__).resolve().parents[1]
    parts: list[object] = []
    newest = 0.0
    for pattern in patterns:
        for path in sorted(package.glob(pattern)):
            parts += [path.relative_to(package).as_posix(), path.read_bytes()]
            newest = max(newest, path.stat().st_mtime)
    if _STARTED <= newest <= time.time():
        parts += [os.getpid(), _STARTED]
    return key_of(*parts)


def cached(kind: str, key: str, make: Callable[[Path], None], *, sources: Sequence[str] = (),
           progress: Progress = no_progress) -> Path:
    """Return the folder of an entry, made if it is not there.

    Parameters
    ----------
    kind, key : :class:`str`
        Name of the entry. The key states all that the content depends on.
    make : callable
        Fills the empty folder that it gets. The folder appears under its name when that is done,
        or not at all. Of two processes that want the same entry one makes it and one waits.
    sources : sequence of :class:`str`
        Patterns for :func:`source_hash`: files of the package on which the content depends too.
    progress : :data:`Progress`
        Told when this process waits.

    Raises
    ------
    CacheError
        If the cache cannot be written, or the sources changed while the entry was made.
    """
    folder = (_COLD.get() or cache_root()) / kind
    before = source_hash(*sources)
    key = key_of(key, before) if sources else key

    def make_and_check(temporary: Path) -> None:
        make(temporary)
        if source_hash(*sources) != before:
            raise CacheError(f"the sources of Oarlock changed while a {kind} was made; try again")

    entry = folder / key
    if not entry.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / f".{key}.lock", kind, progress):
                if not entry.is_dir():
                    _make(entry, make_and_check)
                    _forget_old(folder)
        except OSError as error:
            raise CacheError(f"cache {folder}: {error.strerror or error}; set OARLOCK_CACHE to a "
                             "folder that can be written") from error
    _touch(entry)
    return entry


def _make(entry: Path, make: Callable[[Path], None]) -> None:
    temporary = entry.with_name(f".{entry.name}.tmp")
    # Left by a process that was killed: whoever holds the lock is alone.
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        make(temporary)
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(path: Path, kind: str, progress: Progress) -> Iterator[None]:
    """Hold a lock that the system releases when the process dies, and leave no file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"Waiting for another process that makes the same {kind}", 0, 0)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The holder before us may have removed the file that we opened.
            try:
                current = os.path.samestat(os.fstat(descriptor), os.stat(path))
            except FileNotFoundError:
                current = False
            if current:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _touch(entry: Path) -> None:
    try:
        os.utime(entry)
    except OSError:
        pass  # A cache that can only be read is as good.


def _forget_old(folder: Path) -> None:
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in entries[KEPT_ENTRIES:]:
        shutil.rmtree(path, ignore_errors=True)
