"""What `lite3r bench quality` does."""

from lite3r.options.bench import Quality
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.student.student import TeacherSpec
from lite3r.study.prepare import kept_on
from lite3r.study.quality import TEACHES, Question, measure, middle
from recon_eval.ablation import markdown, panels
from recon_eval.report import svg

CHEAP = (24, (8,))  # scenes, views
FULL = (64, (2, 8, 16, 32))


def run(asked: Quality, terminal: Terminal) -> None:
    """Measure, print tables and the verdict, write the file and the plots."""
    wanted = question(asked)
    spec = TeacherSpec.chosen(asked.backbone, asked.weights, asked.seed)
    with reported():
        goes_on = asked.overwrite or asked.out.is_file()
        for path in (asked.out, asked.out.with_suffix(".svg")):
            atomic.check_new_file(path, overwrite=goes_on)
        teacher = spec.load(device=pick_device(asked.device))
        what, setting = "lite3r bench quality", {"size": asked.size, "seed": asked.seed}
        setting |= {} if asked.steps is None else {"steps": asked.steps}
        kept = kept_on(teacher, asked.out, what, anew=asked.overwrite, **setting)
    if asked.steps is not None and wanted.rows not in TEACHES:
        terminal.say(f"steps={asked.steps} changes nothing: no row of {wanted.rows} is trained")
    with reported(of=("recon_eval",)):  # where another run writes, or an answer is NaN
        document = measure(wanted, teacher, kept, terminal.words)
        kept.save(environment=environment(), backbone=asked.backbone)
    atomic.write_text(asked.out.with_suffix(".svg"), svg(panels(document, middle(wanted))))
    terminal.result(document, markdown(document))


def question(asked: Quality) -> Question:
    """What is asked, without words of the command line."""
    scenes, views = FULL if asked.full else CHEAP
    return Question(
        rows="full" if asked.full and asked.rows == "cheap" else asked.rows,
        scenes=scenes if asked.scenes is None else asked.scenes,
        views=asked.views or views,
        size=asked.size,
        seed=asked.seed,
        students=asked.students,
        photos=asked.photos,
        steps=asked.steps,
        kept=asked.out.with_name(f"{asked.out.stem}-students"),
    )
