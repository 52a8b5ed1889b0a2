"""Train the bundled teacher on drawn scenes: recipe, loop, state on disk, and how good it is."""
