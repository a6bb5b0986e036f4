from pathlib import Path

from plumbline_common.compiling import _take_over


def test_kernels_of_the_image_are_taken_over_once(tmp_path: Path) -> None:
    image, cache = tmp_path / "image", tmp_path / "cache"
    (image / "package").mkdir(parents=True)
    (image / "package" / "kernel.nbi").write_bytes(b"compiled")
    _take_over(str(image), str(cache))
    assert (cache / "package" / "kernel.nbi").read_bytes() == b"compiled"
    assert sorted(tmp_path.iterdir()) == [cache, image]


def test_what_a_process_compiled_itself_stays(tmp_path: Path) -> None:
    image, cache = tmp_path / "image", tmp_path / "cache"
    image.mkdir()
    cache.mkdir()
    (cache / "own").touch()
    _take_over(str(image), str(cache))
    assert [each.name for each in cache.iterdir()] == ["own"]


def test_without_an_image_nothing_is_made(tmp_path: Path) -> None:
    _take_over(None, str(tmp_path / "cache"))
    _take_over(str(tmp_path / "nothing"), str(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == []
