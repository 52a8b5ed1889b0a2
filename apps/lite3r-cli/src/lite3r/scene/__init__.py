"""A reconstructed scene: its views, its points, and how both are kept."""
