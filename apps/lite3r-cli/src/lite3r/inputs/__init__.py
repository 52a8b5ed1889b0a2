"""What a user brings: photos, a video, cameras, and which views of them to take."""

from .cameras import KnownCamera as KnownCamera
from .cameras import KnownCameras as KnownCameras
from .cameras import match_cameras as match_cameras
from .cameras import read_cameras as read_cameras
from .decode import Reduced as Reduced
from .decode import decode_photo as decode_photo
from .select import Selection as Selection
from .select import Thumbnail as Thumbnail
from .select import select_views as select_views
from .select import thumbnail as thumbnail
from .video import extract_frames as extract_frames
from .video import is_video as is_video
