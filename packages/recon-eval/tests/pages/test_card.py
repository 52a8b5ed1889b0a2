"""The head of a model card: what was measured, what binds its user, where weights are from."""

import re
from typing import Any

import pytest

from recon_eval import PROTOCOLS
from recon_eval.pages import card, card_head

FACTS: dict[str, Any] = {
    "name": "a student",
    "library": "lite3r",
    "tags": ["fp8"],
    "base_model": "a/b",
    "data": "rooms",
}


def test_what_was_measured_stands_in_it_and_nothing_else() -> None:
    columns = PROTOCOLS["median"].columns
    text = card_head(columns, {"abs_rel": 0.12341, "auc30": None}, license="Apache-2.0", **FACTS)
    assert text.startswith("---\n") and text.endswith("\n---\n")
    assert re.findall(r"value: (.*)", text) == ["0.1234"]
    assert "license: apache-2.0" in text and "license_name" not in text
    assert "model-index" not in card_head(columns, None, license="Apache-2.0", **FACTS)


def test_a_license_that_the_hub_has_no_name_for_is_told_as_other() -> None:
    text = card_head((), None, license="VGGT", **FACTS)
    assert "license: other" in text and "license_name: VGGT" in text


def test_without_the_library_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(card, "import_module", absent)
    with pytest.raises(ValueError, match="pip install huggingface-hub"):
        card_head((), None, license="VGGT", **FACTS)
