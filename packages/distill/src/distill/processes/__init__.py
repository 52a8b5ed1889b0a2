"""One process or many, and how they are started, joined and stopped."""
