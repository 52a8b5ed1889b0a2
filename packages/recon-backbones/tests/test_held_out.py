"""Photos that are judged on are spread over a scene, and never learned from."""

from recon_backbones.photos import held_out


def test_photos_held_out_are_never_learned_from() -> None:
    for count in range(4, 60):
        held = held_out(count)
        assert 2 <= len(set(held)) == len(held) <= count - 2
        assert set(held) <= set(range(count))
    assert held_out(3) == []
