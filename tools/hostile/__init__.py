"""Hostile files over every parser: refused in a sentence, in bounded memory and time."""
