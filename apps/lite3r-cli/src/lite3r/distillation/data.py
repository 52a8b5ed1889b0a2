"""What a student learns from, and what it is judged on; no photo or scene is both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import distill
from lite3r.bench.images import ImageSettings
from lite3r.bench.quality import predict
from lite3r.shell.errors import reported
from lite3r.shell.words import Words
from recon_backbones import Backbone
from recon_backbones.photos import find_photos, held_out, load_batch, photos_digest
from recon_eval.data import Scene, drawn_scenes, lesson_scenes
from recon_eval.synthetic import SyntheticWorld

VISITS = 2  # of a scene in one training, in other orders of views; drawing it costs as much
MOST_SCENES = 300  # to learn from; they stay in memory
SYNTHETIC = "synthetic"


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a student learns from and is judged on.

    - `judged`: scenes with truth; the teacher's own answer where there is no other.
    - `many`: scenes of more views; of photos, the photos over and over, to measure time alone.
    - `seen`: photos `1 v 3 y x` that may be learned from, to find axes on; None for drawn scenes.
    - `truth`: whether `judged` holds true depth and cameras.
    - `first_words`: what a reader must know of the data before any number.
    """

    batches: distill.Batches
    judged: Sequence[Scene]
    many: Sequence[Scene]
    seen: Float[Tensor, "1 v 3 y x"] | None = None
    truth: bool
    first_words: str


def lessons(
    data: str,
    teacher: Backbone,
    *,
    images: ImageSettings,
    batches: int,
    judged: int,
    wide: bool = False,
    many: ImageSettings | None = None,
    many_scenes: int = 0,
    seed: int,
    words: Words,
) -> Lessons:
    """Draw synthetic scenes, or read a folder of photos of one scene and hold some out.

    - `batches`: how many are learned from, of a wider world if `wide`; `judged`: how many drawn
      scenes are judged on; `many`, `many_scenes`: what those of more views are like, how many.

    Raises UserError for a folder without photos enough, and for scenes that cannot be drawn.
    """
    if data != SYNTHETIC:
        return _of_photos(data, teacher, images, many)
    shape = {"views": images.views, "size": images.size, "seed": seed}
    with reported():
        learn = lesson_scenes(count=scenes_to_learn_from(batches), wide=wide, **shape)
        test = drawn_scenes("test", count=judged, **shape)
    drawn = list(words.each("drawing test scenes", test, judged))
    larger: Sequence[Scene] = []
    if many is not None:
        views, side = many.views, many.size
        with reported():
            world = SyntheticWorld(
                "test", count=many_scenes, views=views, height=side, width=side, seed=seed
            )
        larger = list(words.each(f"drawing scenes of {views} views", world, many_scenes))
    return Lessons(
        batches=distill.Views(lambda number: learn[number].images, count=len(learn)),
        judged=drawn,
        many=larger,
        truth=True,
        first_words=f"Measured on {judged} synthetic scenes that neither model has seen.",
    )


def photos_of(data: str) -> dict[str, str]:
    """The photos of a folder, where it is one, by what no others have. Raises as `find_photos`."""
    return {} if data == SYNTHETIC else {"photos": photos_digest(find_photos([data], copies=False))}


def scenes_to_learn_from(batches: int) -> int:
    """How many drawn scenes a training on so many batches sees, at least one."""
    return max(1, min(MOST_SCENES, -(-batches // VISITS)))


def _of_photos(
    folder: str, teacher: Backbone, images: ImageSettings, many: ImageSettings | None
) -> Lessons:
    with reported():
        photos = load_batch(find_photos([folder], copies=False), teacher, images.size).images[0]
    held = held_out(len(photos))
    rest = [i for i in range(len(photos)) if i not in held]
    judged = photos[(held or rest)[: images.views]]
    if held:
        words = (
            f"Measured on {len(judged)} of {len(photos)} photos that the student did not learn "
            "from, against the teacher: there is no ground truth."
        )
    else:
        words = (
            f"Measured on the {len(judged)} photos that the student learned from, against the "
            "teacher: four photos are the fewest of which some can be held out."
        )
    seen = Scene(name=Path(folder).name, images=judged)
    told = predict(teacher, seen)
    answer = replace(
        seen, depth=told.depth[0].float(), world_to_camera=told.world_to_camera[0].float()
    )
    larger = []
    if many is not None:
        again = photos[torch.arange(many.views, device=photos.device) % len(photos)]
        larger = [Scene(name=f"{seen.name}, again and again", images=again)]
    return Lessons(
        batches=distill.Views(lambda _: photos[rest], views=images.views),
        judged=[answer],
        many=larger,
        seen=photos[rest][: images.views][None],
        truth=False,
        first_words=words,
    )
