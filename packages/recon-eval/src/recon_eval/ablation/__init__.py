"""What each part of a network earns: rows with and without it, on the same scenes.

Figures lie by row and scene in `recon_eval.report.Kept`, rows under `GROUP|ROW`: a group is a set
of scenes, and one of its rows, `dense`, is what the others are compared with.

- against the truth: `abs_rel`, `auc30`; against dense: `depth_change`, `pose_agreement`.
- `exact`, `seen`: shares of the keys that a query attends exactly, and at all; `latency_ms`.
- in the group `mass`, by layer: `kept` and `best`, attention mass that is kept, and could be.
"""

from recon_eval.ablation.rows import alone_row as alone_row
from recon_eval.ablation.rows import measure_rows as measure_rows
from recon_eval.ablation.rows import named as named
from recon_eval.ablation.rows import summarize as summarize
from recon_eval.ablation.shown import markdown as markdown
from recon_eval.ablation.shown import panels as panels
from recon_eval.ablation.tried import Allowed as Allowed
from recon_eval.ablation.tried import means_of as means_of
from recon_eval.ablation.tried import tried_panels as tried_panels
from recon_eval.ablation.tried import tried_tables as tried_tables
from recon_eval.ablation.words import verdict as verdict
