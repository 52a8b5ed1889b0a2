"""Train the bundled teacher from scratch on synthetic scenes: data, losses, optimiser, loop."""
