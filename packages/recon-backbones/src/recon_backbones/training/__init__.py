"""Train a network of Depth Anything 3 or VGGT on scenes whose truth is known.

`training_loss` takes one batch through the network: depth, its gradients and confidence, poses,
rays or points and tracks, and which patches of two views show the same place. `train` runs a whole
training, which goes on where it was and keeps any number of processes equal; scenes and optimizer
are given to it.
"""

from recon_backbones.training.begin import begin as begin
from recon_backbones.training.loop import Parts as Parts
from recon_backbones.training.loop import Run as Run
from recon_backbones.training.loop import train as train
from recon_backbones.training.losses import WEIGHTS as WEIGHTS
from recon_backbones.training.objective import training_loss as training_loss
from recon_backbones.training.objective import use_fast_training as use_fast_training
from recon_backbones.training.optimizer import Optimizer as Optimizer
from recon_backbones.training.own_view import OwnViewAttention as OwnViewAttention
from recon_backbones.training.pupils import Pupil as Pupil
from recon_backbones.training.pupils import Way as Way
from recon_backbones.training.pupils import pupil_of as pupil_of
from recon_backbones.training.schedule import Schedule as Schedule
from recon_backbones.training.state import export_weights as export_weights
from recon_backbones.training.targets import IGNORE as IGNORE
from recon_backbones.training.targets import PATCH as PATCH
from recon_backbones.training.targets import Targets as Targets
from recon_backbones.training.targets import make_targets as make_targets
from recon_backbones.training.targets import rays as rays
