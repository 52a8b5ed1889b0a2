"""Photos and videos: finding, decoding and choosing them."""

from recon_backbones.photos.batch import load_batch as load_batch
from recon_backbones.photos.decode import Reduced as Reduced
from recon_backbones.photos.decode import decode_photo as decode_photo
from recon_backbones.photos.decode import read_photos as read_photos
from recon_backbones.photos.files import common_folder as common_folder
from recon_backbones.photos.files import find_photos as find_photos
from recon_backbones.photos.files import is_video as is_video
from recon_backbones.photos.files import photos_digest as photos_digest
from recon_backbones.photos.gather import CamerasOf as CamerasOf
from recon_backbones.photos.gather import named_photos as named_photos
from recon_backbones.photos.held_out import held_out as held_out
from recon_backbones.photos.masks import find_masks as find_masks
from recon_backbones.photos.masks import read_mask as read_mask
from recon_backbones.photos.prepare import Prepared as Prepared
from recon_backbones.photos.prepare import preprocess as preprocess
from recon_backbones.photos.select import Selection as Selection
from recon_backbones.photos.select import select_views as select_views
from recon_backbones.photos.video import extract_frames as extract_frames
