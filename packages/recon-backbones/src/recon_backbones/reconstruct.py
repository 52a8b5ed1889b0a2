"""From photos to a reconstruction: any number of them, in the memory there is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float64
from torch import Tensor

from recon_backbones.backbone import Backbone
from recon_backbones.errors import InputError
from recon_backbones.geometry.cameras import first_is_origin
from recon_backbones.geometry.one_camera import OneCamera, fit_one_camera, fit_square_pixels
from recon_backbones.photos.batch import load_batch
from recon_backbones.photos.choice import PhotoChoice
from recon_backbones.photos.gather import CamerasOf, Photos, gather
from recon_backbones.photos.masks import find_masks, read_mask, seen_through
from recon_backbones.photos.prepare import Prepared
from recon_backbones.prediction import Prediction
from recon_backbones.reconstruction import Reconstruction
from recon_backbones.refine.options import Refinement
from recon_backbones.refine.run import check_memory, refine_cameras
from recon_backbones.telling import Advance, Telling, silent, unseen
from recon_backbones.views.given import Given
from recon_backbones.views.masks import keep_pixels
from recon_backbones.views.options import Masks, Memory, Precision
from recon_backbones.views.run import Views, predict_views
from recon_backbones.views.scale import (
    KnownDistance,
    check_ends,
    in_known_unit,
    scale_from_distance,
)
from recon_backbones.views.units import Meters, in_given_unit, in_meters

CHOICE, MASKS = PhotoChoice(), Masks()


def reconstruct(
    photos: str | Path | Sequence[str | Path],
    backbone: Backbone,
    *,
    size: int | None = None,
    budget: str | int | None = None,
    window: int | None = None,
    overlap: int | None = None,
    close_loops: bool = True,
    precision: Precision = "kept",
    choice: PhotoChoice = CHOICE,
    masks: Masks = MASKS,
    cameras: CamerasOf | None = None,
    square_pixels: bool = True,
    shared_camera: bool = False,
    known_distance: KnownDistance | None = None,
    metric: Callable[[], object] | None = None,
    refine: Refinement | None = None,
    frames: Path | None = None,
    say: Callable[[str], object] = silent,
    progress: Callable[[str, int], AbstractContextManager[Advance]] = unseen,
) -> Reconstruction:
    """Reconstruct one scene from its photos.

    - `photos`: a folder, photos, a shell pattern, a .txt with one path a line, several of these,
      or one video.
    - `size`: longer side in pixels at which the network sees a photo; the family's own unless
      given.
    - `budget`, `window`, `overlap`, `close_loops`, `precision`: see `views.options.Memory`.
    - `choice`: which photos or frames are taken. `masks`: which pixels are kept.
    - `cameras`: gives the camera of each of some paths, or None; photos without are left out.
    - `square_pixels`: the two focal lengths that the network says of a view become one
      (`geometry.one_camera`); without it they stay two, which `shared_camera` and `refine` do not
      know. Those of given cameras always stay.
    - `shared_camera`: one camera took all photos: one focal length in pixels of the photos, square
      pixels, the principal point in the middle (`geometry.one_camera` has how it is fitted).
    - `known_distance`, or `metric`, which loads a network that sees meters, fixes the unit.
    - `refine`: adjust the predicted cameras to what the photos share, as `refine_cameras` does; one
      lens for all with `shared_camera`; the lenses of given cameras stay.
    - `frames`: folder for the frames of a video; without it they are gone afterwards.
    - `say`, `progress`: take sentences, and steps that are done (`telling.Telling`).

    Raises InputError for what the caller can put right, before the network runs where that can be
    known then.
    """
    telling = Telling(say=say, progress=progress)
    memory = Memory(
        budget=budget, window=window, overlap=overlap, close_loops=close_loops, precision=precision
    )
    meters = Meters(distance=known_distance, network=metric)
    if not square_pixels and cameras is None:
        _check_square(shared_camera=shared_camera, refine=refine is not None)
    named = [photos] if isinstance(photos, (str, Path)) else list(photos)
    taught = _taught(backbone, telling)
    with _folder(frames) as folder:
        chosen = gather(named, choice, folder, cameras=cameras, telling=telling)
        if chosen.cameras is not None:
            meters.check_free()
            _check_free(shared_camera)
        files = _masks(chosen, masks)
        if refine is not None:
            check_memory(len(chosen.paths))
        batch = load_batch(chosen.paths, backbone, size, budget=budget, telling=telling)
        if known_distance is not None:
            check_ends(known_distance, chosen.names, batch.maps)
        seen = _seen(batch, chosen, files)
        given = Given.of(chosen, batch.sizes)
        outcome = predict_views(backbone, _views(given, batch), memory, telling)
        images = _pictures(batch)
        found, facts = outcome.prediction, [*taught, ("passes", outcome.plan.describe())]
        lenses = None if given is None else given.intrinsics
        if shared_camera:
            found, camera = _shared(found, batch, telling)
            lenses = camera.intrinsics
            facts.append(("camera", camera.describe()))
        elif square_pixels and given is None:
            found = _square(found, batch)
        if given is None:
            found, unit = in_meters(found, batch, meters, telling)
        else:
            found, unit = in_given_unit(found, images, telling)
        keep = keep_pixels(found, images, seen, masks)
        made = _made(
            chosen, batch, found, images=images, keep=keep, unit=unit, facts=facts, lenses=lenses
        )
        made = replace(made, masks=files)
        if given is not None:
            made = replace(made, world_to_camera=given.near.numpy())
        if refine is not None and known_distance is not None:
            scale_from_distance(known_distance, made)  # refuses before the work
        if refine is not None:
            made = _refined(made, chosen, refine, shared_camera=shared_camera, telling=telling)
        if known_distance is not None:
            made = in_known_unit(made, known_distance)  # of cameras as they are now
        return made if given is None else given.placed(made, telling)


def _taught(backbone: Backbone, telling: Telling) -> list[tuple[str, str]]:
    """What must be known of weights that have learned from no photo."""
    if backbone.weights is None or backbone.weights.kind != "bundled":
        return []
    telling.say(
        f"the bundled weights of {backbone.name} have seen computer-made scenes alone: real photos "
        "want a larger network, as da3-large"
    )
    return [("weights", "bundled; they have seen computer-made scenes alone")]


def _masks(chosen: Photos, masks: Masks) -> tuple[Path, ...]:
    return () if masks.folder is None else find_masks(masks.folder, chosen.paths, chosen.names)


def _seen(batch: Prepared, chosen: Photos, masks: Sequence[Path]) -> Bool[np.ndarray, "v y x"]:
    """Pixels that show a photo, and in it what its mask keeps."""
    seen = batch.seen()
    for view, mask in enumerate(masks):
        kept = read_mask(mask, chosen.paths[view])
        seen[view] &= seen_through(kept, batch.maps[view])
    if not seen.any():
        raise InputError(
            "masks: they leave no pixel of any photo; black is ignored and white kept: invert them"
        )
    return seen


def _check_free(shared_camera: bool) -> None:
    if shared_camera:
        raise InputError(
            "shared_camera=True; it must be left out beside cameras, which say themselves which "
            "photos share one: leave out one of the two"
        )


def _check_square(**asked: bool) -> None:
    """Refuse pixels that may not be square beside what takes them for square."""
    for name in (name for name, wanted in asked.items() if wanted):
        raise InputError(
            f"square_pixels=False with {name}; that takes pixels for square: leave one of the two "
            "out, or bring stretched photos back to their shape"
        )


def _shared(found: Prediction, batch: Prepared, telling: Telling) -> tuple[Prediction, OneCamera]:
    """The prediction as one camera saw it: rays change, depths and poses stay."""
    camera = fit_one_camera(found.intrinsics[0], found.depth_conf[0], batch.maps)
    telling.say(f"camera: {camera.describe()}")
    if doubt := camera.doubt():
        telling.say(doubt)
    seen = batch.intrinsics_from_photos(camera.intrinsics).to(found.intrinsics.dtype)
    return replace(found, intrinsics=seen), camera


def _square(found: Prediction, batch: Prepared) -> Prediction:
    """The prediction as cameras of square pixels saw it: rays change, depths and poses stay."""
    seen = fit_square_pixels(found.intrinsics[0], found.depth_conf[0], batch.maps)
    return replace(found, intrinsics=seen[None].to(found.intrinsics.dtype))


def _refined(
    made: Reconstruction,
    chosen: Photos,
    refine: Refinement,
    *,
    shared_camera: bool,
    telling: Telling,
) -> Reconstruction:
    """With cameras adjusted; what is known of lenses stays true."""
    given = chosen.cameras is not None
    if given:
        refine = replace(refine, focal="fixed")
    elif shared_camera:
        refine = replace(refine, focal="shared")
    return refine_cameras(made, refine, given=given, telling=telling)


@contextmanager
def _folder(frames: Path | None) -> Iterator[Path]:
    """Where the frames of a video go."""
    if frames is not None:
        yield frames
        return
    with TemporaryDirectory(prefix="frames-") as folder:
        yield Path(folder)


def _views(given: Given | None, batch: Prepared) -> Views:
    """Images, and the given cameras in their pixels."""
    if given is None:
        return Views(images=batch.images[0])
    return Views(
        images=batch.images[0],
        world_to_camera=given.near.float(),
        intrinsics=batch.intrinsics_from_photos(given.intrinsics)[0].float(),
    )


def _pictures(batch: Prepared) -> np.ndarray:
    """The views as bytes, `v y x 3`, one after another: all in float32 are large already."""
    views, _, height, width = batch.images[0].shape
    pictures = np.empty((views, height, width, 3), dtype=np.uint8)
    for picture, image in zip(pictures, batch.images[0], strict=True):
        picture[:] = rearrange((image * 255).round().byte().numpy(), "c y x -> y x c")
    return pictures


def _made(
    chosen: Photos,
    batch: Prepared,
    found: Prediction,
    *,
    images: np.ndarray,
    keep: np.ndarray,
    unit: str,
    facts: Sequence[tuple[str, str]],
    lenses: Float64[Tensor, "v 3 3"] | None,
) -> Reconstruction:
    """Arrays, in the frame of the first camera.

    - `lenses`: intrinsics of the photos; those of the prediction unless given.
    """
    poses, intrinsics = found.world_to_camera[0].double(), found.intrinsics.double()
    if lenses is not None:
        intrinsics = batch.intrinsics_from_photos(lenses)
    frame = "the first camera" if chosen.cameras is None else "that of the given cameras"
    return Reconstruction(
        photos=chosen.names,
        root=chosen.root,
        world_to_camera=first_is_origin(poses).numpy(),
        intrinsics=(batch.intrinsics_to_photos(intrinsics) if lenses is None else lenses).numpy(),
        sizes=batch.sizes,
        images=images,
        depth=found.depth[0].float().numpy(),
        confidence=found.depth_conf[0].float().numpy(),
        keep=keep,
        intrinsics_seen=intrinsics[0].numpy(),
        maps=batch.maps,
        unit=unit,
        facts=(*chosen.facts, *facts, ("unit", unit), ("frame", frame)),
    )
