"""Photos of a room make its cameras exact; those that share nothing keep theirs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from recon_backbones import InputError, Reconstruction, Refinement, refine_cameras
from recon_backbones.refine.grow import Views
from recon_backbones.refine.model import Cameras
from recon_backbones.refine.tracks import Tracks
from recon_backbones.telling import Telling

from .rings import apart


@pytest.mark.parametrize("wrong", [{"neighbors": 1}, {"size": 3}, {"keypoints": 1}])
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}=.*must be"):
        Refinement(**wrong)  # type: ignore[arg-type]


def test_photos_of_a_room_make_its_cameras_exact(scene: tuple[Reconstruction, Tensor]) -> None:
    made, poses = scene
    said: list[str] = []
    found = refine_cameras(made, Refinement(focal="shared"), telling=Telling(say=said.append))
    truth = Cameras.of(poses, torch.from_numpy(found.intrinsics))
    before, after = (
        apart(Cameras.of(torch.from_numpy(m.world_to_camera), truth.intrinsics), truth)
        for m in (made, found)
    )
    assert after[0] < 0.2 * before[0]
    assert after[0] < 0.003
    np.testing.assert_allclose(found.world_to_camera[0], np.eye(4)[:3], atol=1e-9)
    assert found.tracked is not None
    assert len(found.tracked) > 50
    assert np.median(found.tracked.error) < 0.5
    assert "cameras refined" in dict(found.facts)
    assert said[-1].startswith("cameras refined: 4 of 4 views")
    # one camera in two pixels, and the unit of depth
    ratio = found.intrinsics[:, :2] / found.intrinsics_seen[:, :2].clip(1e-9)
    np.testing.assert_allclose(ratio[:, [0, 1], [0, 1]], 2.0)
    np.testing.assert_allclose(np.median(found.depth / made.depth), 1.0, atol=0.05)


def test_photos_of_another_size_than_were_reconstructed_are_refused(
    scene: tuple[Reconstruction, Tensor], tmp_path: Path
) -> None:
    made, _ = scene
    for name in made.photos:
        with Image.open(made.root / name) as photo:
            photo.resize((640, 480)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"0\.png: is 640 x 480 pixels; it must be .* 320 x 240"):
        refine_cameras(replace(made, root=tmp_path))


def test_the_frame_is_that_of_the_first_view_also_where_it_shows_nothing(
    scene: tuple[Reconstruction, Tensor], tmp_path: Path
) -> None:
    """It moves with the nearest view that was placed, the last here, and all follow it back."""
    made, _ = scene
    order = [0, 3, 2, 1]
    made = replace(
        made,
        photos=tuple(made.photos[i] for i in order),
        world_to_camera=made.world_to_camera[order],
        images=made.images[order],
        depth=made.depth[order],
    )
    for name in made.photos:
        (tmp_path / name).write_bytes((made.root / name).read_bytes())
    Image.new("RGB", (320, 240), (90, 90, 90)).save(tmp_path / made.photos[0])
    found = refine_cameras(replace(made, root=tmp_path), Refinement(focal="shared"))
    assert dict(found.facts)["cameras refined"].startswith("3 of 4 views")
    np.testing.assert_allclose(found.world_to_camera[0], made.world_to_camera[0], atol=1e-7)
    assert not np.allclose(found.world_to_camera[1], made.world_to_camera[1], atol=1e-3)
    assert found.tracked is not None
    seen = found.tracked
    poses = found.world_to_camera[seen.view]
    local = np.einsum("oij,oj->oi", poses[:, :, :3], seen.points[seen.point]) + poses[:, :, 3]
    landed = np.einsum("oij,oj->oi", found.intrinsics[seen.view], local)
    apart = np.linalg.norm(landed[:, :2] / landed[:, 2:] - seen.xy, axis=1)
    np.testing.assert_allclose(apart, seen.error, atol=1e-6)


def test_photos_that_share_nothing_keep_their_cameras(
    scene: tuple[Reconstruction, Tensor], tmp_path: Path
) -> None:
    made, _ = scene
    for name in made.photos:
        Image.new("RGB", (320, 240), (90, 90, 90)).save(tmp_path / name)
    found = refine_cameras(replace(made, root=tmp_path))
    assert found.tracked is None
    assert found.world_to_camera is made.world_to_camera
    assert "share too few" in dict(found.facts)["cameras refined"]


def test_a_photo_that_a_wrong_match_alone_joins_is_not_adjusted(
    scene: tuple[Reconstruction, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = scene
    seen = [(view, n) for n in range(15) for view in (0, 1, 2)] + [(2, 15), (3, 15)]
    view, point = torch.tensor(seen).T
    xy, points = (torch.zeros(n, d, dtype=torch.float64) for n, d in ((len(seen), 2), (16, 3)))
    tracks = Tracks(view=view, point=point, xy=xy, points=points)
    given: list[Tracks] = []

    def solve(tracks: Tracks, views: Views) -> None:
        given.append(tracks)
        raise InterruptedError

    place = "recon_backbones.refine.run"
    monkeypatch.setattr(f"{place}._keypoints", lambda *_: [])
    monkeypatch.setattr(f"{place}._tracks", lambda *_: tracks)
    monkeypatch.setattr(f"{place}.solve", solve)
    with pytest.raises(InterruptedError):
        refine_cameras(made)
    assert len(given[0]) == 15
    assert set(given[0].view.tolist()) == {0, 1, 2}
