import multiprocessing
import os
from pathlib import Path

import pytest

from plumbline_search.embedding import model_store


def test_the_second_call_finds_what_the_first_built(model_cache: Path) -> None:
    first = model_store.ensure(model_cache)
    built = first.onnx.stat()
    assert model_store.ensure(model_cache) == first
    assert first.onnx.stat().st_mtime_ns == built.st_mtime_ns
    assert first.tokenizer.exists()


def test_a_damaged_model_is_built_anew(model_cache: Path, tmp_path: Path) -> None:
    whole = model_store.ensure(model_cache).onnx
    damaged = tmp_path / whole.name
    damaged.write_bytes(whole.read_bytes()[:1000])
    damaged.with_suffix(".sha256").write_text(whole.with_suffix(".sha256").read_text())
    assert model_store.ensure(tmp_path).onnx.stat().st_size == whole.stat().st_size
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".onnx", ".sha256"]


def test_processes_that_start_at_once_build_one_model(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        models = pool.map(model_store.ensure, [tmp_path] * 3)
        pool.close()
        pool.join()
    assert len(set(models)) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".onnx", ".sha256"]


@pytest.mark.parametrize(
    ("root", "folder"), [("/var/cache/x", "/var/cache/x/plumbline"), (None, "~/.cache/plumbline")]
)
def test_the_cache_is_the_users(root: str | None, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if root is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", root)
    assert model_store.default_cache() == Path(folder).expanduser()


def test_a_cache_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=os.strerror(20)):
        model_store.ensure(tmp_path / "file" / "cache")
