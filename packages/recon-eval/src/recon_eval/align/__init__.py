"""Similarity transforms: from points, from cameras, robustly, and by iterated nearest points."""

from .cameras import align_cameras as align_cameras
from .icp import icp as icp
from .ransac import align_cameras_ransac as align_cameras_ransac
from .ransac import ransac as ransac
from .similarity import MIN_SPREAD as MIN_SPREAD
from .similarity import DegenerateAlignment as DegenerateAlignment
from .similarity import Similarity as Similarity
from .similarity import camera_centres as camera_centres
from .similarity import umeyama as umeyama
