"""Pages and tables: what a run reports, and reconstructions to look at."""
