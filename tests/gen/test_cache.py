"""The cache: one maker, nothing half made, nothing stale."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oarlock.gen import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OARLOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def nothing(folder: Path) -> None:
    pass


BUILD = """
import sys
from oarlock.gen import cache
def make(folder):
    print("making", flush=True)
    sys.stdin.readline()
    (folder / "made").touch()
cache.cached("kind", "key", make, progress=lambda stage, *_: print(stage, flush=True))
print("done", flush=True)
"""


def start() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILD], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT, None])
def test_two_processes_and_one_entry(own_cache: Path, kill: int | None) -> None:
    with start() as one:
        assert one.stdout.readline() == "making\n"
        with start() as two:
            assert two.stdout.readline().startswith("Waiting for another process")
            assert not (own_cache / "kind" / "key").exists()
            if kill is None:
                assert one.communicate("\n")[0] == "done\n"
                assert two.communicate("")[0] == "done\n"
            else:
                one.send_signal(kill)
                one.wait()
                assert two.communicate("\n")[0] == "making\ndone\n"
        one.stdin, _ = None, one.communicate()
    assert os.listdir(own_cache / "kind") == ["key"]
    assert os.listdir(own_cache / "kind" / "key") == ["made"]


def test_what_fails_leaves_nothing(own_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.cached("kind", "key", fail)
    assert os.listdir(own_cache / "kind") == []


def test_the_key_tells_parts_apart() -> None:
    keys = [cache.key_of("ab"), cache.key_of("a", "b"), cache.key_of("a", b"b", ""),
            cache.key_of(1, 2), cache.key_of(12)]
    assert len({*keys}) == len(keys)
    assert cache.key_of(1, b"2") == cache.key_of("1", "2")


def test_old_entries_are_forgotten(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT_ENTRIES", 2)
    for time_of_use, key in enumerate("abc"):
        os.utime(cache.cached("kind", key, nothing), (time_of_use, time_of_use))
    cache.cached("kind", "d", nothing)
    assert sorted(os.listdir(own_cache / "kind")) == ["c", "d"]


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OARLOCK_CACHE", str(tmp_path / "file"))
    with pytest.raises(cache.CacheError, match="set OARLOCK_CACHE"):
        cache.cached("kind", "key", nothing)


def test_sources_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gen").mkdir()
    source = tmp_path / "gen" / "x.py"
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "gen" / "cache.py"))

    def write(text: str, age: float) -> str:
        source.write_text(text)
        os.utime(source, (time.time() - age,) * 2)
        return cache.cached("kind", "key", nothing, sources=("gen/*.py",)).name

    # Changed before this process began: the text alone counts.
    old, other = write("1", 1e6), write("2", 1e6)
    assert old != other
    assert write("1", 2e6) == old
    # Changed since: what was imported may be something else, nobody else may find what it makes.
    mine = write("1", 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        another = write("1", 0)
    assert len({old, mine, another}) == 3
    assert write("1", 0) == mine
    # A clock that was put back.
    assert write("1", -1e6) == old

    def change(folder: Path) -> None:
        write("3", 1e6)

    with pytest.raises(cache.CacheError, match="changed while a kind was made"):
        cache.cached("kind", "another", change, sources=("gen/*.py",))


def test_a_cold_cache_has_nothing_and_leaves_nothing(own_cache: Path) -> None:
    made: list[Path] = []

    def entry() -> Path:
        return cache.cached("kind", "key", made.append)

    warm = entry()
    with pytest.raises(RuntimeError), cache.cold():
        inside = entry()
        assert inside != warm and entry() == inside
        raise RuntimeError
    assert not inside.exists()
    assert entry() == warm
    assert len(made) == 2
    assert [*own_cache.rglob("key")] == [warm]
