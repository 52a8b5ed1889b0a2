"""What a caller can put right, told apart from what is a bug here."""


class InputError(ValueError):
    """What was given cannot be used; the text names it, the rule, and the way out."""
