"""PLY clouds: three encodings, and every way to be broken."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval.formats import PointCloud, read_ply, write_ply

on_disk = settings.get_profile("on_disk")
HEADER = b"ply\nformat ascii 1.0\ncomment made here\nelement vertex 2\nproperty float x\n"
HEADER += b"property float y\nproperty float z\nend_header\n"


def test_what_is_written_is_read_also_by_trimesh(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    colors = rng.integers(0, 255, (50, 3), dtype=np.uint8)
    sure = rng.random(50).astype(np.float32)
    whole = PointCloud(points=points, normals=-points, colors=colors, confidence=sure)
    for cloud in (PointCloud(points=points), PointCloud(points=points, colors=colors), whole):
        write_ply(tmp_path / "a.ply", cloud, comment="of two\nlines")
        read = read_ply(tmp_path / "a.ply")
        for part in ("points", "normals", "colors", "confidence"):
            np.testing.assert_array_equal(getattr(read, part), getattr(cloud, part))
        assert np.array_equal(trimesh.load(tmp_path / "a.ply").vertices, points)
    assert np.array_equal(trimesh.load(tmp_path / "a.ply").colors[:, :3], colors)


def test_points_of_float64_stay_it(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) + np.array([450000.123, 5500000.45, 3])
    colors = np.zeros((50, 3), np.uint8)
    write_ply(tmp_path / "a.ply", PointCloud(points=points, normals=points, colors=colors))
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.points, points)
    assert read.normals is not None and read.normals.dtype == np.float32
    assert np.array_equal(trimesh.load(tmp_path / "a.ply").vertices, points)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_meshes_with_normals_and_colors_give_their_vertices(tmp_path: Path, encoding: str) -> None:
    box = trimesh.creation.icosphere(1)
    box.visual.vertex_colors = np.arange(4 * len(box.vertices)).reshape(-1, 4) % 255
    path = tmp_path / "a.ply"
    path.write_bytes(trimesh.exchange.ply.export_ply(box, encoding=encoding, vertex_normal=True))
    cloud = read_ply(path)
    assert np.allclose(cloud.points, box.vertices, atol=1e-6)
    assert cloud.normals is not None and cloud.colors is not None
    assert np.allclose(cloud.normals, box.vertex_normals, atol=1e-5)
    assert np.array_equal(cloud.colors, box.visual.vertex_colors[:, :3])


def test_a_comment_may_hold_any_words(tmp_path: Path) -> None:
    points = np.ones((2, 3), np.float32)
    for comment in ("Åre … scan", "until end_header"):
        write_ply(tmp_path / "a.ply", PointCloud(points=points), comment=comment)
        assert np.array_equal(read_ply(tmp_path / "a.ply").points, points)
    header = HEADER.replace(b"end_header", b"comment before end_header\nend_header")
    (tmp_path / "b.ply").write_bytes(
        header.replace(b"ascii", b"binary_little_endian") + points.tobytes()
    )
    assert np.array_equal(read_ply(tmp_path / "b.ply").points, points)


def test_big_endian_doubles(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    header = HEADER.replace(b"ascii", b"binary_big_endian").replace(b"float", b"double")
    (tmp_path / "a.ply").write_bytes(
        header.replace(b"vertex 2", b"vertex 5") + points.astype(">f8").tobytes()
    )
    assert np.array_equal(read_ply(tmp_path / "a.ply").points, points)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is no PLY file"),
        (b"plya\n", "is no PLY file"),
        (HEADER.replace(b"end_header\n", b""), "is no PLY file"),
        (HEADER + b"1 2 3 4 5", "5 numbers are found; 2 vertices need 6"),
        (HEADER + b"1 2 3 4 5 x", "no number"),
        (HEADER.replace(b"ascii", b"binary_little_endian") + bytes(23), "truncated"),
        (HEADER.replace(b"vertex 2", b"vertex 9999999999"), "0 numbers are found"),
        (HEADER.replace(b"vertex 2", b"vertex 99999999999999"), "the number of vertices"),
        (HEADER.replace(b"vertex 2", b"vertex -2"), "the number of vertices"),
        (HEADER.replace(b"vertex 2", b"face 2"), "first element is 'face'"),
        (HEADER.replace(b"float x", b"float a"), "properties x, y, z"),
        (HEADER.replace(b"float x", b"quad x"), "is not understood"),
        (HEADER.replace(b"float x", b"list uchar int x"), "list property"),
        (HEADER.replace(b"float x", b"int x"), "must be float"),
        (
            HEADER.replace(b"end_", b"property uchar red\nend_") + b"1 2 3 300 1 2 3 4",
            "red of a vertex does not fit",
        ),
        (
            HEADER.replace(b"end_", b"property uchar red\nend_") + b"1 2 3 nan 1 2 3 4",
            "fit in uint8",
        ),
        (HEADER.replace(b"format ascii 1.0\n", b""), "needs a format"),
        (HEADER.replace(b"property float y\n", b"property float x\n"), "each once"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, content: bytes, rule: str) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(content + (b" 1 2 3 4 5 6" if b"int x" in content else b""))
    with pytest.raises(ValueError, match=rf"a\.ply: .*{rule}"):
        read_ply(path)


def test_text_is_read_in_blocks_wherever_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).normal(size=(40, 3))
    text = "\n".join(" ".join(f"{x:.17g}" for x in row) for row in points)
    header = HEADER.replace(b"vertex 2", b"vertex 40").replace(b"float", b"double")
    (tmp_path / "a.ply").write_bytes(header + text.encode())
    for size in (1, 7, 64, 1 << 20):
        monkeypatch.setattr("recon_eval.formats.ply.TEXT_BLOCK", size)
        assert np.array_equal(read_ply(tmp_path / "a.ply").points, points)


def test_one_endless_word_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(HEADER + b"1 2 3 4 5 " + b"9" * 3_000_000)
    with pytest.raises(ValueError, match=r"a\.ply: holds a word of more than 64 bytes"):
        read_ply(tmp_path / "a.ply")


@given(
    content=st.binary(max_size=60),
    cut=st.integers(0, len(HEADER)),
    kind=st.sampled_from([b"ascii", b"binary_little_endian"]),
)
@on_disk
def test_any_bytes_are_read_or_refused(
    tmp_path: Path, content: bytes, cut: int, kind: bytes
) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(HEADER.replace(b"ascii", kind)[:cut] + content + HEADER[cut:])
    try:
        assert read_ply(path).points.shape == (2, 3)
    except ValueError as error:
        assert str(path) in str(error)
