"""Refined cameras land on what the photos show: laws with exact matches, then with real ones."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from recon_backbones import InputError, Reconstruction, Refinement, refine_cameras
from recon_backbones.geometry.cameras import first_is_origin
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.refine import run as run_module
from recon_backbones.refine.bundle import A_PAIR, Loss, adjust
from recon_backbones.refine.gauge import in_frame_of, in_frame_of_all
from recon_backbones.refine.grow import Views, _pairs, grow
from recon_backbones.refine.keypoints import Keypoints, find_keypoints
from recon_backbones.refine.lenses import Focal, Lenses
from recon_backbones.refine.matching import choose_pairs, match_pair
from recon_backbones.refine.model import (
    LOCAL,
    Cameras,
    errors,
    linearize,
    rotation_of,
    triangulate,
)
from recon_backbones.refine.solve import solve
from recon_backbones.refine.tracks import Tracks, join_matches
from recon_backbones.telling import Telling

from .allocations import peak_allocated
from .rooms import room

SIZE = (768, 512)
VIEWS, POINTS = 6, 60


def ring(seed: int = 0, views: int = VIEWS, points: int = POINTS) -> tuple[Cameras, Tracks]:
    """Cameras on an arc of 70 degrees about a cloud of points, and where each sees each."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    turn = torch.linspace(-0.6, 0.6, views).double()
    zero = torch.zeros_like(turn)
    rotation = rotation_of(torch.stack([0.05 * normal(views), turn, zero], dim=1))
    centers = torch.stack([4 * turn.sin(), 0.3 * normal(views), -4 * turn.cos()], dim=1)
    pose = torch.cat([rotation, -rotation @ centers[..., None]], dim=2)
    lens = torch.tensor([[700.0, 0, 384], [0, 700, 256], [0, 0, 1]]).double()
    cameras = Cameras.of(pose, lens.expand(views, 3, 3))
    tracks = Tracks(
        view=torch.arange(views).repeat(points),
        point=torch.arange(points).repeat_interleave(views),
        xy=torch.zeros(views * points, 2).double(),
        points=0.6 * normal(points, 3),
    )
    return cameras, replace(tracks, xy=errors(cameras, tracks)[0])


def noisy(cameras: Cameras, amount: float, seed: int = 1) -> Cameras:
    """Turned by `amount` radians, shifted by four times as much, of other focal lengths."""
    generator = torch.Generator().manual_seed(seed)
    step = torch.randn(len(cameras), LOCAL, generator=generator, dtype=torch.float64)
    step = step * amount * torch.tensor([1.0] * 3 + [4.0] * 3 + [2.0, 2.0] + [0.0, 0.0])
    step[:, 6:8] = step[:1, 6:7]
    return cameras.moved(step)


def views_of(start: Cameras, focal: Focal = "shared") -> Views:
    count = len(start)
    return Views(start=start, sizes=[SIZE] * count, pixel=torch.ones(count).double(), focal=focal)


def apart(found: Cameras, truth: Cameras) -> tuple[float, float]:
    """Largest difference of relative rotations (entries), and of centers over their extent."""
    turns = [c.rotation @ c.rotation[0].T for c in (found, truth)]
    places = []
    for cameras in (found, truth):
        local = (cameras.centers - cameras.centers[0]) @ cameras.rotation[0].T
        places.append(local / local.norm(dim=1).max())
    return float((turns[0] - turns[1]).abs().max()), float((places[0] - places[1]).abs().max())


def test_derivatives_are_those_of_the_errors() -> None:
    cameras, tracks = ring(2)
    generator = torch.Generator().manual_seed(0)
    step = 1e-6 * torch.randn(VIEWS, LOCAL, generator=generator, dtype=torch.float64)
    shift = 1e-6 * torch.randn(POINTS, 3, generator=generator, dtype=torch.float64)
    found = linearize(cameras, tracks)
    foreseen = (found.by_camera @ step[tracks.view][..., None])[..., 0]
    foreseen = foreseen + (found.by_point @ shift[tracks.point][..., None])[..., 0]
    moved = errors(cameras.moved(step), tracks.at(tracks.points + shift))[0]
    torch.testing.assert_close(moved - found.error, foreseen, rtol=1e-3, atol=1e-6)


def test_rays_of_true_cameras_meet_in_the_points() -> None:
    cameras, tracks = ring(3)
    torch.testing.assert_close(triangulate(cameras, tracks), tracks.points, rtol=0, atol=1e-7)


@pytest.mark.parametrize("focal", ["shared", "each", "fixed"])
def test_a_perfect_start_stays(focal: Focal) -> None:
    cameras, tracks = ring()
    solved = solve(tracks, views_of(cameras, focal))
    assert max(solved.before, solved.after) < 1e-9
    turn, shift = apart(solved.cameras, cameras)
    assert max(turn, shift) < 1e-6
    torch.testing.assert_close(solved.cameras.lens, cameras.lens, rtol=1e-6, atol=0)


@settings(max_examples=5)
@given(seed=st.integers(0, 100))
def test_noise_on_cameras_is_removed_where_matches_are_exact(seed: int) -> None:
    """To 1e-4, of two degrees, a tenth of the distance and some percent of the focal length."""
    truth, tracks = ring(seed)
    solved = solve(tracks, views_of(noisy(truth, 0.03, seed + 1)))
    assert max(apart(solved.cameras, truth)) < 1e-4
    torch.testing.assert_close(solved.cameras.lens, truth.lens, rtol=1e-4, atol=0)
    assert solved.better


def test_a_third_of_wrong_matches_harms_nothing() -> None:
    truth, tracks = ring(4, views=8, points=150)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(tracks.view), generator=generator) < 0.3
    anywhere = torch.rand(len(wrong), 2, generator=generator, dtype=torch.float64)
    xy = torch.where(wrong[:, None], anywhere * torch.tensor(SIZE), tracks.xy)
    solved = solve(replace(tracks, xy=xy), views_of(noisy(truth, 0.02)))
    assert max(apart(solved.cameras, truth)) < 1e-3
    assert not solved.near[wrong].double().mean() > 0.05
    assert solved.near[~wrong].double().mean() > 0.95


def test_cameras_that_are_wholly_wrong_are_built_anew_from_matches() -> None:
    truth, tracks = ring(5, points=120)
    start = noisy(truth, 1.0)  # turned by a radian, anywhere
    start = replace(start, lens=truth.lens * torch.tensor([1.15, 0.85, 1, 1]))
    solved = solve(tracks, views_of(start))
    assert solved.anew
    assert bool(solved.placed.all())
    assert max(apart(solved.cameras, truth)) < 1e-4


def test_nothing_grows_where_nothing_is_shared() -> None:
    cameras, tracks = ring()
    few = tracks.of(tracks.point < 10)
    assert grow(few, views_of(cameras)) is None


def test_the_cost_never_rises() -> None:
    cameras, tracks = ring(6)
    start = noisy(cameras, 0.05)
    at_start = tracks.at(triangulate(start, tracks))
    loss, lenses = Loss(scale=torch.ones(VIEWS).double()), Lenses.of(start, [SIZE] * VIEWS, "each")
    costs = [loss.cost(start, at_start) + lenses.cost(start)]
    for steps in (1, 2, 4, 8):
        done = adjust(start, at_start, loss, lenses, steps=steps)
        assert done.after == pytest.approx(
            loss.cost(done.cameras, done.tracks) + lenses.cost(done.cameras)
        )
        costs.append(done.after)
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_lenses_stay_one_where_they_are_shared_and_as_they_are_where_fixed() -> None:
    truth, tracks = ring(7)
    start = replace(truth, lens=truth.lens * torch.tensor([1.1, 1.1, 1, 1]))
    shared = solve(tracks, views_of(start, "shared")).cameras.lens
    torch.testing.assert_close(shared, shared[:1].expand_as(shared), rtol=1e-12, atol=0)
    fixed = solve(tracks, views_of(start, "fixed")).cameras.lens
    assert torch.equal(fixed, start.lens)
    each = solve(tracks, views_of(start, "each")).cameras.lens
    assert float((each[:, 0] - each[0, 0]).abs().max()) > 0
    assert torch.equal(each[:, 2:], start.lens[:, 2:])


def test_turned_photos_share_the_focal_length() -> None:
    truth, _ = ring()
    lens = truth.lens.clone()
    lens[0, :2] *= 1.21
    cameras = replace(truth, lens=lens)
    sizes = [(512, 768), *[SIZE] * (VIEWS - 1)]
    lenses = Lenses.of(cameras, sizes, "shared")
    together = lenses.together(cameras).lens[:, :2]
    torch.testing.assert_close(together, together[:1, :1].expand_as(together))
    moved = lenses.untie(torch.arange(int(lenses.column.max()) + 1).double()).reshape(VIEWS, LOCAL)
    assert torch.equal(moved[0, 6:8], moved[1, 6:8].flip(0))  # across is down where turned
    assert not torch.equal(moved[0, 8:], moved[1, 8:])


def test_frame_and_unit_are_those_of_the_start() -> None:
    start, tracks = ring(8)
    turn = rotation_of(torch.tensor([0.3, -0.2, 0.9]).double())
    shift, grown = torch.tensor([1.0, -2.0, 3.0]).double(), 2.5
    pose = torch.cat(
        [
            start.rotation @ turn.T,
            grown * start.translation[..., None]
            - start.rotation @ turn.T @ shift.expand(VIEWS, 3)[..., None],
        ],
        dim=2,
    )
    elsewhere = Cameras.of(pose, start.intrinsics)
    moved = tracks.at(grown * tracks.points @ turn.T + shift)
    torch.testing.assert_close(errors(elsewhere, moved)[0], errors(start, tracks)[0])
    everyone = torch.ones(VIEWS, dtype=torch.bool)
    for back in (
        in_frame_of(elsewhere, moved, start, 1 / grown, 2),
        in_frame_of_all(elsewhere, moved, start, everyone),
    ):
        assert back is not None
        torch.testing.assert_close(back[0].world_to_camera, start.world_to_camera)
        torch.testing.assert_close(back[1].points, tracks.points)


def test_matches_chain_into_tracks_and_contradictions_are_left_out() -> None:
    keypoints = [torch.arange(6.0).double().reshape(3, 2) + 10 * k for k in range(3)]
    pairs = [
        (0, 1, torch.tensor([[0, 1], [1, 0]])),
        (1, 2, torch.tensor([[1, 2], [0, 0]])),
        (0, 2, torch.tensor([[1, 1]])),  # with the pairs above, two places of view 2
    ]
    tracks = join_matches(keypoints, pairs)
    assert len(tracks) == 1
    assert tracks.view.tolist() == [0, 1, 2]
    expected = torch.stack([keypoints[0][0], keypoints[1][1], keypoints[2][2]])
    assert torch.equal(tracks.xy, expected)
    assert len(join_matches(keypoints, [])) == 0


def test_few_views_are_all_paired_and_many_with_their_neighbors() -> None:
    cameras, _ = ring()
    assert len(choose_pairs(cameras.world_to_camera, 20)) == VIEWS * (VIEWS - 1) // 2
    many, _ = ring(views=30)
    pairs = choose_pairs(many.world_to_camera, 4)
    assert {(i, i + 1) for i in range(29)} <= set(pairs)
    assert len(pairs) < 30 * 29 // 4
    assert all(i < j for i, j in pairs)


def test_a_shifted_photo_matches_by_its_shift() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    wide = np.asarray(small.resize((480, 320), Image.Resampling.BICUBIC))
    one, other = find_keypoints(wide[:, :420]), find_keypoints(wide[:, 30:450], factor=2.0)
    rows = match_pair(one, other)
    assert len(rows) >= 20
    moved = one.xy[rows[:, 0]] - other.xy[rows[:, 1]] / 2
    torch.testing.assert_close(
        moved.median(0).values, torch.tensor([30.0, 0]).double(), atol=0.05, rtol=0
    )
    assert len(match_pair(one, find_keypoints(np.zeros((80, 80, 3), np.uint8)))) == 0


@pytest.mark.parametrize("wrong", [{"neighbors": 1}, {"size": 3}, {"keypoints": 1}])
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}=.*must be"):
        Refinement(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reconstruction, Tensor]:
    """A room with its photos on disk, cameras a little wrong, depth of another unit; the truth."""
    folder = tmp_path_factory.mktemp("photos")
    truth = room(4, 240, 320, finest=6.0)
    names = tuple(f"{number}.png" for number in range(4))
    pixels = (truth.images.permute(0, 2, 3, 1) * 255).byte().numpy()
    for name, picture in zip(names, pixels, strict=True):
        Image.fromarray(picture).save(folder / name)
    poses = first_is_origin(truth.world_to_camera.double())
    start = noisy(Cameras.of(poses, truth.intrinsics.double()), 0.01)
    small = truth.depth[:, ::2, ::2].numpy()
    pixel_map = PixelMap(photo=(240, 320), size=(120, 160), scale_x=0.5, scale_y=0.5)
    made = Reconstruction(
        photos=names,
        root=folder,
        world_to_camera=first_is_origin(start.world_to_camera).numpy(),
        intrinsics=start.intrinsics.numpy(),
        sizes=((320, 240),) * 4,
        images=np.ascontiguousarray(pixels[:, ::2, ::2]),
        depth=small,
        confidence=np.ones_like(small),
        keep=np.ones(small.shape, dtype=bool),
        intrinsics_seen=np.stack(
            [pixel_map.intrinsics_from_photo(k).numpy() for k in start.intrinsics]
        ),
        maps=(pixel_map,) * 4,
        unit="the network's own",
    )
    return made, poses


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


def test_keypoints_are_gone_while_cameras_are_adjusted(
    scene: tuple[Reconstruction, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def find(*args: Any, **options: Any) -> Keypoints:
        found = find_keypoints(*args, **options)
        held.append(weakref.ref(found.descriptors))
        return found

    def solved(*args: Any) -> Any:
        alive.append(sum(descriptors() is not None for descriptors in held))
        return solve(*args)

    monkeypatch.setattr(run_module, "find_keypoints", find)
    monkeypatch.setattr(run_module, "solve", solved)
    refine_cameras(scene[0], Refinement(size=240))
    assert len(held) == 4 and alive == [0]


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


def test_adjusting_cameras_takes_the_memory_that_is_asked_for() -> None:
    """Of many views that share few points each, so that pairs of views are what counts."""
    cameras, tracks = ring(views=100, points=300)
    few = (tracks.view + tracks.point) % 25 == 0
    tracks = tracks.of(few)
    views = views_of(cameras, "each")
    loss = Loss(scale=views.pixel)
    start = noisy(cameras, 1e-3)
    taken = peak_allocated(lambda: adjust(start, tracks, loss, views.lenses(), steps=1))
    assert 0.8 * A_PAIR * 100**2 < taken < A_PAIR * 100**2


def test_what_is_seen_takes_little_memory_however_often_it_is_seen() -> None:
    """Of few views that share many points: most of what an observation needs is passing."""
    cameras, tracks = ring(views=6, points=40_000)
    views = views_of(cameras, "each")
    loss, start = Loss(scale=views.pixel), noisy(cameras, 1e-3)
    taken = peak_allocated(lambda: adjust(start, tracks, loss, views.lenses(), steps=1))
    assert taken < 900 * len(tracks.view)


def test_cameras_that_memory_does_not_hold_are_refused_before_photos_are_read(
    scene: tuple[Reconstruction, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = scene
    monkeypatch.setattr("recon_backbones.refine.run.available", lambda _: A_PAIR * 4**2 - 1)
    with pytest.raises(InputError, match=r"refine with 4 photos; .* are free: leave refine out"):
        refine_cameras(replace(made, root=Path("nowhere")))


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


def test_pairs_that_share_most_are_found_without_a_table_of_views_and_points() -> None:
    views, points = 40, 10_000
    view = torch.stack(
        [torch.arange(points) % views, (torch.arange(points) * 7 + 1) % views], dim=1
    )
    tracks = Tracks(
        view=view.flatten(),
        point=torch.arange(points).repeat_interleave(2),
        xy=torch.zeros(2 * points, 2).double(),
        points=torch.zeros(points, 3).double(),
    )
    sees = torch.zeros(views, points)
    sees[tracks.view, tracks.point] = 1
    counts = (sees @ sees.T).triu(diagonal=1)
    found = list(_pairs(tracks, views))
    assert sorted(float(counts[pair]) for pair in found) == sorted(
        counts.flatten().topk(len(found)).values.tolist()
    )
    assert peak_allocated(lambda: list(_pairs(tracks, views))) < sees.nbytes


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_keypoints_lie_where_blobs_are(factor: float) -> None:
    rng = np.random.default_rng(0)
    centers = np.mgrid[30:230:40, 30:310:40].reshape(2, -1).T + rng.uniform(0, 1, (35, 2))
    down, across = np.mgrid[:260, :340] + 0.5
    gray = np.full(down.shape, 40.0)
    for y, x in centers:
        gray += 180 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / 2 / 2.5**2)
    image = np.repeat(gray.round().astype(np.uint8)[..., None], 3, axis=2)
    found = find_keypoints(image, factor=factor).xy.numpy() / factor
    off = found[:, None] - centers[:, ::-1]
    off = off[np.arange(len(found)), np.linalg.norm(off, axis=2).argmin(axis=1)]
    assert len(found) >= 35 and np.abs(np.median(off, axis=0)).max() < 0.02


def test_views_that_share_nothing_with_the_others_are_left_as_they_are() -> None:
    """Two parts have a unit each, which no photo tells; the larger is refined."""
    links = [(0, 1), (1, 4), (4, 5), (2, 3)]  # views that share 5 points
    seen = [(view, 5 * n + i) for n, pair in enumerate(links) for i in range(5) for view in pair]
    seen = sorted([*seen, (2, 20), (5, 20)], key=lambda one: one[1])  # a wrong match joins no parts
    view, point = torch.tensor(seen).T
    tracks = Tracks(
        view=view,
        point=point,
        xy=torch.zeros(len(seen), 2, dtype=torch.float64),
        points=torch.zeros(21, 3, dtype=torch.float64),
    )
    assert tracks.joined(7, 5).tolist() == [True, True, False, False, True, True, False]
    assert tracks.joined(7, 1).tolist() == [True] * 6 + [False]
    assert int(tracks.joined(7, 6).sum()) == 1
    assert tracks.shared(7)[1, 4] == 5


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
