"""NumPy archives: parts become one array, only what is asked for is read, objects never are."""

from pathlib import Path

import numpy as np
import pytest

from recon_eval.formats import read_npy, read_npz, write_npz


def test_parts_become_one_array_as_numpy_reads_it(tmp_path: Path) -> None:
    parts = [np.arange(6.0).reshape(1, 2, 3), np.ones((2, 2, 3))]
    whole = {"names": np.array(["a", "schön"]), "one": np.array(3), "parts": parts}
    write_npz(tmp_path / "a.npz", whole)
    with np.load(tmp_path / "a.npz") as found:
        assert found["names"].tolist() == ["a", "schön"] and found["one"] == 3
        np.testing.assert_array_equal(found["parts"], np.concatenate(parts))
    assert set(read_npz(tmp_path / "a.npz")) == set(whole)
    assert set(read_npz(tmp_path / "a.npz", ("one", "two"))) == {"one"}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (np.zeros((1, 4, 5), np.uint8), r"uint8 \(1, 4, 5\)"),
        (np.zeros((1, 6), np.uint8), r"uint8 \(1, 6\)"),
        (np.full((1, 2, 3), 300.7), r"float64 \(1, 2, 3\)"),
        (np.zeros((1, 2, 3), bool), r"bool \(1, 2, 3\)"),
    ],
)
def test_parts_of_unequal_shapes_or_types_are_refused(
    tmp_path: Path, part: np.ndarray, said: str
) -> None:
    first = np.zeros((1, 2, 3), np.uint8)
    with pytest.raises(ValueError, match=rf"depth: has parts of uint8 \(1, 2, 3\) and {said}"):
        write_npz(tmp_path / "a.npz", {"depth": [first, part]})
    assert not list(tmp_path.iterdir())


def test_only_what_is_asked_for_counts_towards_the_bound(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", {"small": np.zeros(3), "large": np.zeros(900)})
    size = (tmp_path / "a.npz").stat().st_size
    np.savez_compressed(tmp_path / "b.npz", small=np.zeros(3), large=np.zeros(9000))
    assert len(read_npz(tmp_path / "b.npz", ("small",), max_bytes=4000)["small"]) == 3
    with pytest.raises(ValueError, match=r"b\.npz: .*unpacks to"):
        read_npz(tmp_path / "b.npz", max_bytes=4000)
    with pytest.raises(ValueError, match=r"a\.npz: has"):
        read_npz(tmp_path / "a.npz", max_bytes=size - 1)


def test_python_objects_are_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names: has the type object"):
        write_npz(tmp_path / "a.npz", {"names": np.array([{}], dtype=object)})
    assert not list(tmp_path.iterdir())
    np.savez(tmp_path / "b.npz", names=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"b\.npz: is no file of NumPy arrays"):
        read_npz(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.array(["text"]))
    with pytest.raises(ValueError, match=r"c\.npy: is no NumPy array of numbers"):
        read_npy(tmp_path / "c.npy")
