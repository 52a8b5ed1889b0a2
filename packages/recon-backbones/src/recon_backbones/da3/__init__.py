"""Depth Anything 3: any number of views to depth, rays and cameras."""

from .backbone import DepthAnything3 as DepthAnything3
from .config import DA3Config as DA3Config
from .config import da3_base as da3_base
from .config import da3_giant as da3_giant
from .config import da3_large as da3_large
from .config import da3_small as da3_small
from .config import da3_tiny as da3_tiny
from .model import DA3Net as DA3Net
from .model import DA3Output as DA3Output
from .mono import MonoDepth as MonoDepth
from .mono import MonoNet as MonoNet
from .mono_backbone import MonoDepthAnything3 as MonoDepthAnything3
from .mono_config import MonoConfig as MonoConfig
from .mono_config import da3metric_large as da3metric_large
from .mono_config import da3metric_tiny as da3metric_tiny
from .mono_config import da3mono_large as da3mono_large
from .nested import NestedDepthAnything3 as NestedDepthAnything3
