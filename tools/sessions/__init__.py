"""The nox sessions: `ci` what a push runs, `nightly` and `versions` the rest, `work` by hand."""
