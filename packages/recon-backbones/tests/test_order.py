"""Photos come folder by folder and in natural order, however they are named: neighbors meet."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_backbones.photos import find_photos

NAMES = ("1", "2", "10", "a2", "a10", "A3", "1²3", "b", "٣")


def below(root: Path, found: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_pattern_over_folders_takes_one_folder_after_the_other(tmp_path: Path) -> None:
    names = [f"day{day}/{number}.png" for day in (2, 10) for number in (1, 2, 10)]
    touch(tmp_path, *names)
    assert below(tmp_path, find_photos([f"{tmp_path}/*/*.png"])) == names


@pytest.mark.parametrize("name", ["1²3.jpg", "²", "٣٤.jpg", "①2.jpg"])
def test_numbers_of_every_script_and_what_only_looks_like_one_have_an_order(
    tmp_path: Path, name: str
) -> None:
    touch(tmp_path, f"{name}.png", "2.png")
    assert len(find_photos([tmp_path])) == len(find_photos([f"{tmp_path}/*.png"])) == 2


@settings(max_examples=50)
@given(
    names=st.lists(
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join),
        min_size=1, max_size=8, unique=True,
    ),
)  # fmt: skip
def test_a_pattern_over_everything_has_the_order_of_the_folder_itself(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    root = tmp_path_factory.mktemp("photos")
    touch(root, *(f"{name}.png" for name in names))
    walked = find_photos([root], at_least=1, recursive=True)
    assert find_photos([f"{root}/**/*.png"], at_least=1) == walked
