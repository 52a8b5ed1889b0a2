"""VGGT: views to depth, points, cameras and tracks in one pass."""

from recon_backbones.vggt.backbone import Vggt as Vggt
from recon_backbones.vggt.backbone import VggtOutput as VggtOutput
from recon_backbones.vggt.config import TrackConfig as TrackConfig
from recon_backbones.vggt.config import VggtConfig as VggtConfig
from recon_backbones.vggt.config import vggt_1b as vggt_1b
from recon_backbones.vggt.config import vggt_tiny as vggt_tiny
from recon_backbones.vggt.tracker import Tracks as Tracks
