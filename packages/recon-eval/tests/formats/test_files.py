"""Where nothing can be written is found before any work; what is written is for whom it may be."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recon_eval.formats import (
    check_takes_file,
    check_writable,
    new_file,
    replaced_folder,
    write_json,
    write_text,
)


@pytest.fixture(params=[0o077, 0o027, 0o022, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_and_folders_are_for_those_whom_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.txt", "text")
    with replaced_folder(tmp_path / "out") as partial:
        write_text(partial / "deep" / "b.txt", "text")
    files = [tmp_path / "a.txt", tmp_path / "out/deep/b.txt"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}
    folders = [tmp_path / "out", tmp_path / "out/deep"]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o777 & ~umask}


def test_a_file_is_for_no_more_while_it_is_written(tmp_path: Path, umask: int) -> None:
    with new_file(tmp_path / "a.txt") as partial:
        assert partial.parent == tmp_path and partial.suffix == ".txt"
        assert partial.stat().st_mode & umask == 0


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    link, target = tmp_path / "a.json", tmp_path / "disk" / "b.other"
    link.symlink_to("disk/b.other")
    if there:
        write_text(target, "old")
    check_takes_file(link)
    with new_file(link) as partial:
        assert (partial.parent, partial.suffix) == (target.parent, ".json")
        partial.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_where_a_link_leads_must_take_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/proc/a.json")
    with pytest.raises(OSError, match="cannot write in /proc"):
        check_takes_file(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_or_device_is_not_replaced(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(OSError, match="is a device or a pipe; a file must go there"):
        check_takes_file(tmp_path / name)
    with pytest.raises(OSError, match="is a device or a pipe; a file must go there"):
        write_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_of_a_link_to_a_folder_that_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk" / "old").mkdir(parents=True)
    (tmp_path / "out").symlink_to("disk")
    with replaced_folder(tmp_path / "out") as partial:
        write_text(partial / "new", "text")
    assert (tmp_path / "out").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_writing_below_a_file_or_a_system_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; it must be a folder"):
        check_writable(tmp_path / "file" / "runs" / "x")
    with pytest.raises(OSError, match="cannot write in /proc"):
        check_writable(Path("/proc/runs"))
    check_writable(tmp_path / "not" / "yet" / "there")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_link_to_nothing_is_no_folder_to_write(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "unplugged" / "out")
    for folder in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(NotADirectoryError, match="is a link to nothing; it must be a folder"):
            check_writable(folder)
    (tmp_path / "unplugged" / "out").mkdir(parents=True)
    check_writable(tmp_path / "out" / "deep")


def test_a_folder_that_no_text_can_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"caf\\udce9' is no UTF-8; .*choose another"):
        check_writable(tmp_path / os.fsdecode(b"caf\xe9"))
    check_writable(tmp_path / "café")


def test_a_file_that_names_what_is_no_utf_8_is_written_and_read_again(tmp_path: Path) -> None:
    named = {"cameras": os.fsdecode(b"caf\xe9/sparse")}
    write_json(tmp_path / "a.json", named)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == named


@pytest.mark.parametrize("name", [".", "..", "new/.."])
def test_a_folder_without_a_name_of_its_own_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="it from outside"), replaced_folder(Path(name)):
        pytest.fail("the work began")
    assert not list(tmp_path.iterdir())


def test_a_folder_where_a_disk_is_mounted_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "out")
    with (
        pytest.raises(OSError, match=r"is where a disk is mounted; .*choose one in it"),
        replaced_folder(tmp_path / "out"),
    ):
        pytest.fail("work was begun")
    with replaced_folder(tmp_path / "out" / "garden"):
        pass


@pytest.mark.parametrize("letter", ["a", "写"])
def test_a_name_of_any_length_that_fits_is_written(tmp_path: Path, letter: str) -> None:
    name = letter * (251 // len(letter.encode())) + ".txt"
    write_text(tmp_path / name, "text")
    with replaced_folder(tmp_path / "deep" / name):
        pass
    with replaced_folder(tmp_path / "deep" / name) as partial:
        write_text(partial / "new", "text")
    assert (tmp_path / "deep" / name / "new").read_text() == "text"
    assert len(list((tmp_path / "deep").iterdir())) == 1
