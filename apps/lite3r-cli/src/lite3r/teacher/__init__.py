"""Train the bundled teacher on scenes drawn here: recipe, scenes, targets, losses, loop."""
