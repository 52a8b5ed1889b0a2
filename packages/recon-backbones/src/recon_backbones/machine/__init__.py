"""How much memory there is, and how amounts of it are said."""
