"""One run of `lite3r distill`: its folder, what it learns from, teaching, judging, the report."""
