"""Where nothing can be written is found before any work."""

from pathlib import Path

import pytest

from recon_eval.formats import check_writable


def test_writing_below_a_file_or_a_system_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; it must be a folder"):
        check_writable(tmp_path / "file" / "runs" / "x")
    with pytest.raises(OSError, match="cannot write in /proc"):
        check_writable(Path("/proc/runs"))
    check_writable(tmp_path / "not" / "yet" / "there")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
