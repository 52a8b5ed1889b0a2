"""Whatever stops a writer, the old content stays and nothing half-written is left."""

from pathlib import Path

import pytest

from lite3r.shell import atomic


def test_a_failed_file_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic.new_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic.new_folder(path, overwrite=False) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic.new_folder(path, overwrite=True) as partial:
        (partial / "a").write_text("half")
        raise KeyboardInterrupt
    assert (path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out"
    for name in ("first", "second"):
        with atomic.new_folder(path, overwrite=True) as partial:
            (partial / name).write_text(name)
    assert [p.name for p in path.iterdir()] == ["second"]
    assert [p.name for p in path.parent.iterdir()] == ["out"]


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(FileExistsError, match=r"exists already; .* add --overwrite"),
        atomic.new_folder(tmp_path, overwrite=False),
    ):
        pass


def test_of_two_runs_into_one_folder_the_first_that_ends_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with (
        pytest.raises(FileExistsError, match="exists already"),
        atomic.new_folder(path, overwrite=False) as late,
    ):
        (late / "late").touch()
        with atomic.new_folder(path, overwrite=False) as first:
            (first / "first").touch()
    assert [p.name for p in path.iterdir()] == ["first"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
