"""How good a teacher is, beside what anything at all would reach."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from lite3r.bench.quality import answer_of
from recon_backbones import Backbone, replace_attention
from recon_backbones.training import OwnViewAttention
from recon_eval import Answer
from recon_eval.data import Scene
from recon_eval.exams import Exam, Grade, constant_depth


def assess(backbone: Backbone, exams: Sequence[Exam]) -> Iterator[Grade]:
    """Measure a backbone on the test split: as it is, without cross-view sight, and baselines.

    The baselines are a constant depth, and each view reconstructed alone.
    """
    for exam in exams:
        loaded = exam.load()
        yield from exam.by_views("teacher", loaded, partial(_together, backbone))
        if not exam.baselines:
            continue
        few = exam.few(loaded)
        yield exam.grade("each view alone", few, partial(_alone, backbone))
        yield exam.grade("constant depth", few, constant_depth)
        replaced = replace_attention(backbone, lambda site: OwnViewAttention(site.special_tokens))
        yield exam.grade("teacher, own view only", few, partial(_together, backbone))
        replaced.undo()


@torch.inference_mode()
def _together(backbone: Backbone, scene: Scene) -> Answer:
    return answer_of(backbone(scene.images[None]))


@torch.inference_mode()
def _alone(backbone: Backbone, scene: Scene) -> Answer:
    depths = [backbone(image[None, None]).depth[0] for image in scene.images]
    return Answer(depth=torch.cat(depths))
