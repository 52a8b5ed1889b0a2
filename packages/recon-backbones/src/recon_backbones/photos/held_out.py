"""Which photos of a scene are kept to judge on."""

HELD_OUT = 4  # one photo of so many, and two at least: a pose needs a pair


def held_out(count: int) -> list[int]:
    """Which of so many photos are judged on and not learned from, evenly spread; none of too few.

    At least two are held out and two learned from, so four photos are the fewest.
    """
    if count < 4:
        return []
    held = max(2, count // HELD_OUT)
    return [int((2 * i + 1) * count / (2 * held)) for i in range(held)]
