"""A result that is only a name and its numbers."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class NamedResult:
    """Numbers of somebody else's protocol, as a report takes them."""

    protocol: str
    values: dict[str, float]
    facts: dict[str, object] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """Return every metric by the name it is published under."""
        return dict(self.values)

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        return dict(self.facts)
