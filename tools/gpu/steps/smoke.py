"""Every kernel once, against what it must equal, before anything is timed."""

from functools import partial

from gpu.checks import attention, fp8, whole
from gpu.record import Record
from gpu.setting import Setting


def measure(setting: Setting, record: Record) -> None:
    """All checks; a row whose `error` exceeds `allowed` says that it is not sound."""
    for checks in (attention.checks(setting), fp8.checks(setting), whole.checks(setting)):
        for name, check in checks.items():
            record.row({"check": name}, partial(judged, check))


def judged(check: object) -> dict[str, object]:
    """Run a check; it returns the error found and the error allowed."""
    found = check()  # type: ignore[operator]
    if not found["error"] <= found["allowed"]:
        raise AssertionError(
            f"error={found['error']:.3g}; it must be at most {found['allowed']:.3g}"
        )
    return dict(found)
