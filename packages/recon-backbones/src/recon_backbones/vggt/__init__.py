"""VGGT: views to depth, points, cameras and tracks in one pass."""

from .backbone import Vggt as Vggt
from .backbone import VggtOutput as VggtOutput
from .config import TrackConfig as TrackConfig
from .config import VggtConfig as VggtConfig
from .config import vggt_1b as vggt_1b
from .config import vggt_tiny as vggt_tiny
from .tracker import Tracks as Tracks
