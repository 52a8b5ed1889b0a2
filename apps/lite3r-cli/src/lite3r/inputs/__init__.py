"""What a user knows beside photos: cameras."""

from .cameras import KnownCamera as KnownCamera
from .cameras import KnownCameras as KnownCameras
from .cameras import match_cameras as match_cameras
from .cameras import read_cameras as read_cameras
