"""Feed-forward 3-D reconstruction transformers: exact, light, open to surgery."""

from importlib.metadata import version

from . import catalogue as catalogue
from .alignment import Similarity as Similarity
from .alignment import umeyama as umeyama
from .attention import Attention as Attention
from .attention import AttentionSite as AttentionSite
from .attention import DenseAttention as DenseAttention
from .attention import MatmulAttention as MatmulAttention
from .attention import Replaced as Replaced
from .attention import replace_attention as replace_attention
from .backbone import Backbone as Backbone
from .backbone import WeightsSource as WeightsSource
from .backbone import check_images as check_images
from .cameras import unproject as unproject
from .errors import InputError as InputError
from .lite3r_import import Lite3RWeights as Lite3RWeights
from .lite3r_import import import_lite3r as import_lite3r
from .metric import in_metres as in_metres
from .metric import to_metric as to_metric
from .photos.choice import PhotoChoice as PhotoChoice
from .photos.given import GivenCamera as GivenCamera
from .prediction import Prediction as Prediction
from .preprocess import Prepared as Prepared
from .preprocess import preprocess as preprocess
from .reconstruct import reconstruct as reconstruct
from .reconstruction import Reconstruction as Reconstruction
from .registry import BackboneEntry as BackboneEntry
from .registry import build_on_meta as build_on_meta
from .registry import list_backbones as list_backbones
from .registry import load_backbone as load_backbone
from .registry import register_backbone as register_backbone
from .registry import unregister_backbone as unregister_backbone
from .splats import Splats as Splats
from .splats import world_splats as world_splats
from .transformer import slice_blocks as slice_blocks
from .views.options import Masks as Masks
from .views.options import Memory as Memory
from .views.scale import KnownDistance as KnownDistance

__version__ = version("recon-backbones")
