"""The command `lite3r`."""


def main() -> None:
    """Run the command line."""
