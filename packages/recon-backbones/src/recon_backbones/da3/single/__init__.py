"""Depth Anything 3 of single views, and nested with the any-view network: meters, and sky."""

from recon_backbones.da3.single.backbone import MonoDepthAnything3 as MonoDepthAnything3
from recon_backbones.da3.single.config import MonoConfig as MonoConfig
from recon_backbones.da3.single.config import da3metric_large as da3metric_large
from recon_backbones.da3.single.config import da3metric_tiny as da3metric_tiny
from recon_backbones.da3.single.config import da3mono_large as da3mono_large
from recon_backbones.da3.single.nested import NestedDepthAnything3 as NestedDepthAnything3
from recon_backbones.da3.single.net import MonoDepth as MonoDepth
from recon_backbones.da3.single.net import MonoNet as MonoNet
