"""What all commands are: options, and the name of what does the work."""

from importlib import import_module
from typing import ClassVar

from lite3r.shell.terminal import Output, Terminal


class Command:
    """A subcommand: a frozen dataclass of options, checked as far as they can be without the work.

    - `work`: module:function, given with the class: takes the command and a `Terminal`. It is
      imported when the command runs, so that help is answered without PyTorch.
    """

    work: ClassVar[str]
    output: Output

    def __init_subclass__(cls, *, work: str) -> None:
        cls.work = work

    def run(self) -> None:
        """Do the work; a user's mistake raises `UserError`."""
        module, _, name = self.work.partition(":")
        getattr(import_module(module), name)(self, Terminal(self.output))
