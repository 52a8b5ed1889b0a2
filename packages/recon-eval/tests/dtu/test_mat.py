"""MATLAB arrays: what SciPy writes is read as SciPy reads it; the rest is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat

from recon_eval.dtu.mat import read_mat

on_disk = settings.get_profile("on_disk")
kinds = st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])


@given(
    values=kinds.flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=2, max_dims=4, max_side=5))
    ),
    compressed=st.booleans(),
    name=st.sampled_from(["P", "BB", "ObsMask", "a_long_name_of_a_variable"]),
)
@on_disk
def test_arrays_are_read_as_scipy_reads_them(
    tmp_path: Path, values: np.ndarray, compressed: bool, name: str
) -> None:
    path = tmp_path / "a.mat"
    savemat(
        path, {"other": np.ones(3), name: values}, do_compression=compressed, long_field_names=True
    )
    found = read_mat(path, [name])[name]
    wanted = loadmat(path)[name]
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted, equal_nan=values.dtype.kind == "f")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({"a": 1}, "not real, dense and numeric"),
        ("text", "not real, dense and numeric"),
        (np.ones((2, 2)) * 1j, "not real, dense and numeric"),
    ],
)
def test_other_variables_are_refused(tmp_path: Path, value: object, rule: str) -> None:
    savemat(tmp_path / "a.mat", {"P": value})
    with pytest.raises(ValueError, match=rf"a\.mat: .*{rule}"):
        read_mat(tmp_path / "a.mat", ["P"])


def test_a_missing_variable_and_the_new_format_are_named(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"Q": 1.0})
    with pytest.raises(ValueError, match="has no variable P"):
        read_mat(tmp_path / "a.mat", ["P"])
    (tmp_path / "b.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
    with pytest.raises(ValueError, match="save it again with -v7"):
        read_mat(tmp_path / "b.mat", ["P"])
    with pytest.raises(FileNotFoundError):
        read_mat(tmp_path / "c.mat", ["P"])
