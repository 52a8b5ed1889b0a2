"""Known cameras, from the files in which other programs keep them."""

from .known import KnownCamera as KnownCamera
from .known import KnownCameras as KnownCameras
from .known import Matched as Matched
from .known import match_cameras as match_cameras
from .read import read_cameras as read_cameras
