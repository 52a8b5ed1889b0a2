"""Depth Anything 3: any number of views to depth, rays and cameras."""

from recon_backbones.da3.backbone import DepthAnything3 as DepthAnything3
from recon_backbones.da3.config import DA3Config as DA3Config
from recon_backbones.da3.config import da3_base as da3_base
from recon_backbones.da3.config import da3_giant as da3_giant
from recon_backbones.da3.config import da3_large as da3_large
from recon_backbones.da3.config import da3_small as da3_small
from recon_backbones.da3.config import da3_tiny as da3_tiny
from recon_backbones.da3.model import DA3Net as DA3Net
from recon_backbones.da3.model import DA3Output as DA3Output
