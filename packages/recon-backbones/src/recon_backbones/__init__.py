"""Feed-forward 3-D reconstruction transformers: exact, light, open to surgery."""

from importlib.metadata import version

from recon_backbones.backbone import AttentionSite as AttentionSite
from recon_backbones.backbone import Backbone as Backbone
from recon_backbones.backbone import Reference as Reference
from recon_backbones.backbone import WeightsSource as WeightsSource
from recon_backbones.backbone import check_images as check_images
from recon_backbones.blocks.attention import Attention as Attention
from recon_backbones.blocks.attention import DenseAttention as DenseAttention
from recon_backbones.blocks.attention import MatmulAttention as MatmulAttention
from recon_backbones.blocks.precision import half_type as half_type
from recon_backbones.blocks.transformer import slice_blocks as slice_blocks
from recon_backbones.blocks.transformer import steps_before_layers as steps_before_layers
from recon_backbones.catalog import BackboneEntry as BackboneEntry
from recon_backbones.errors import InputError as InputError
from recon_backbones.export.captured import CapturedBackbone as CapturedBackbone
from recon_backbones.geometry.alignment import Similarity as Similarity
from recon_backbones.geometry.alignment import umeyama as umeyama
from recon_backbones.geometry.cameras import unproject as unproject
from recon_backbones.geometry.splats import Splats as Splats
from recon_backbones.geometry.splats import world_splats as world_splats
from recon_backbones.metric import in_meters as in_meters
from recon_backbones.metric import to_metric as to_metric
from recon_backbones.photos.choice import PhotoChoice as PhotoChoice
from recon_backbones.photos.given import GivenCamera as GivenCamera
from recon_backbones.photos.prepare import Prepared as Prepared
from recon_backbones.photos.prepare import preprocess as preprocess
from recon_backbones.prediction import Prediction as Prediction
from recon_backbones.program import Program as Program
from recon_backbones.program import load_program as load_program
from recon_backbones.program import write_program as write_program
from recon_backbones.reconstruct import reconstruct as reconstruct
from recon_backbones.reconstruction import Reconstruction as Reconstruction
from recon_backbones.reconstruction import TrackedPoints as TrackedPoints
from recon_backbones.refine.options import Refinement as Refinement
from recon_backbones.refine.run import refine_cameras as refine_cameras
from recon_backbones.registry import build_on_meta as build_on_meta
from recon_backbones.registry import list_backbones as list_backbones
from recon_backbones.registry import load_backbone as load_backbone
from recon_backbones.registry import register_backbone as register_backbone
from recon_backbones.registry import unregister_backbone as unregister_backbone
from recon_backbones.surgery import Replaced as Replaced
from recon_backbones.surgery import compile_blocks as compile_blocks
from recon_backbones.surgery import replace_attention as replace_attention
from recon_backbones.views.options import Masks as Masks
from recon_backbones.views.options import Memory as Memory
from recon_backbones.views.scale import KnownDistance as KnownDistance
from recon_backbones.weights.digest import weights_digest as weights_digest
from recon_backbones.weights.lite3r import Lite3RWeights as Lite3RWeights
from recon_backbones.weights.lite3r import import_lite3r as import_lite3r

__version__ = version("recon-backbones")
