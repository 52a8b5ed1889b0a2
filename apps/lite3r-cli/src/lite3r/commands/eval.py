"""What `lite3r eval` does."""

from lite3r.bench.quality import evaluate
from lite3r.options.eval import Eval
from lite3r.shell import atomic
from lite3r.shell.environment import pick_device
from lite3r.shell.errors import reported
from lite3r.shell.tables import rich_table
from lite3r.shell.terminal import Terminal
from lite3r.student.deploy import load_model
from recon_eval import PROTOCOLS, means
from recon_eval.data import read_scenes, scan_list


def run(asked: Eval, terminal: Terminal) -> None:
    """Measure, and print the means over scenes."""
    with reported():
        if asked.scans is not None:
            scan_list(asked.scans)
        if asked.out is not None:
            atomic.check_new_file(asked.out, overwrite=asked.overwrite)
        how = vars(asked.model) | {"device": pick_device(asked.model.device)}
        model = load_model(**how, seed=asked.seed)
        size = asked.size // model.backbone.patch_size * model.backbone.patch_size
        shape = {"count": asked.scenes, "views": asked.views, "size": size, "seed": asked.seed}
        scenes = read_scenes(asked.data, scans=asked.scans, **shape)
    terminal.say(f"{model.name}: {model.ran}")
    with reported(of=("recon_eval",)), terminal.progress("measuring", len(scenes)) as advance:
        report = evaluate(
            model.backbone,
            scenes,
            model=f"{model.name} ({model.ran})",
            dataset=asked.data,
            seed=asked.seed,
            protocol=asked.protocol,
            advance=advance,
            say=terminal.say,
        )
    if asked.out is not None:
        with reported(OSError), atomic.new_file(asked.out) as partial:
            report.save(partial)
    lost = f", {len(report.dropped)} of them dropped" if report.dropped else ""
    title = f"{asked.data}, {len(scenes)} scenes{lost}, {asked.views} views, {size} pixels"
    row = {"label": asked.model.model, **means(report, asked.protocol)}
    terminal.result(report.to_dict(), rich_table(PROTOCOLS[asked.protocol].columns, [row], title))
