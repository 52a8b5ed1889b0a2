"""Every table of the documents: from one file of measurements to Markdown."""

from collections.abc import Callable

from .attention import attention, listed_rows
from .demo import demo
from .distillation import (
    distill,
    distill_fast,
    distill_vggt,
    gap,
    overhead,
    teacher,
    teacher_vggt,
    train_memory,
)
from .evaluation import dtu
from .fp8 import fp8_compiled, fp8_deployed, fp8_linears, fp8_memory, fp8_recipes
from .gpu import gpu_attention, gpu_checks, gpu_linears, gpu_models, gpu_rows
from .prediction import memory_plans, predicted_models
from .quality import (
    content_order,
    fp8_rounded,
    quality,
    quality_of_many,
    quality_vggt,
)
from .speed import compiled_attention, compiled_loops, limit, photographs, speed, upstream

TABLES: dict[str, Callable[[], str]] = {
    "demo": demo,
    "distill": distill,
    "distill-fast": distill_fast,
    "distill-vggt": distill_vggt,
    "gap": gap,
    "overhead": overhead,
    "train-memory": train_memory,
    "teacher": teacher,
    "teacher-vggt": teacher_vggt,
    "attention": attention,
    "listed-rows": listed_rows,
    "content-order": content_order,
    "fp8-memory": fp8_memory,
    "fp8-rounded": fp8_rounded,
    "quality": quality,
    "quality-of-many": quality_of_many,
    "quality-vggt": quality_vggt,
    "fp8-recipes": fp8_recipes,
    "fp8-linears": fp8_linears,
    "fp8-deployed": fp8_deployed,
    "fp8-compiled": fp8_compiled,
    "gpu-checks": gpu_checks,
    "gpu-models": gpu_models,
    "gpu-attention": gpu_attention,
    "gpu-rows": gpu_rows,
    "gpu-linears": gpu_linears,
    "memory-plans": memory_plans,
    "predicted-models": predicted_models,
    "dtu": dtu,
    "compiled-attention": compiled_attention,
    "compiled-loops": compiled_loops,
    "speed": speed,
    "limit": limit,
    "upstream": upstream,
    "photographs": photographs,
}
