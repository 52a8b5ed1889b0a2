"""Train a network that answers as Depth Anything 3 does, on scenes whose truth is known.

`training_loss` takes one batch through the network: depth, its gradients and confidence, poses,
rays, and which patches of two views show the same place.
"""

from recon_backbones.training.losses import WEIGHTS as WEIGHTS
from recon_backbones.training.objective import Way as Way
from recon_backbones.training.objective import training_loss as training_loss
from recon_backbones.training.objective import use_fast_training as use_fast_training
from recon_backbones.training.probe import Pupil as Pupil
from recon_backbones.training.targets import IGNORE as IGNORE
from recon_backbones.training.targets import PATCH as PATCH
from recon_backbones.training.targets import Targets as Targets
from recon_backbones.training.targets import make_targets as make_targets
from recon_backbones.training.targets import rays as rays
