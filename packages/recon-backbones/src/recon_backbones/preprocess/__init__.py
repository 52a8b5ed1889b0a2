"""From photos to a backbone's input, and from its output back to the photos' pixels."""

from .da3 import DA3Preprocess as DA3Preprocess
from .mapping import PixelMap as PixelMap
from .photos import Photo as Photo
from .photos import read_photos as read_photos
from .prepare import Prepared as Prepared
from .prepare import Preprocess as Preprocess
from .prepare import preprocess as preprocess
from .vggt import VggtPreprocess as VggtPreprocess
