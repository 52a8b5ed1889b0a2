"""Networks in training: what the objective asks of each family."""

from recon_backbones.backbone import Backbone
from recon_backbones.da3.backbone import DepthAnything3
from recon_backbones.training.pupils.da3 import DA3Pupil
from recon_backbones.training.pupils.pupil import Pupil as Pupil
from recon_backbones.training.pupils.pupil import Way as Way
from recon_backbones.training.pupils.vggt import VggtPupil
from recon_backbones.vggt.backbone import Vggt


def pupil_of(backbone: Backbone) -> Pupil:
    """The backbone as its family is trained. Raises ValueError for one that is not."""
    if isinstance(backbone, Vggt):
        return VggtPupil(backbone)
    if isinstance(backbone, DepthAnything3):
        return DA3Pupil(backbone.model)
    raise ValueError(
        f"backbone={backbone.name!r}; Depth Anything 3 for many views and VGGT are trained: "
        "take one of those"
    )
