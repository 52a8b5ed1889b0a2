"""A day on a GPU: steps in order of worth, each in a process of its own."""
