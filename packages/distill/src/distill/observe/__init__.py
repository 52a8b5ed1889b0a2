"""Run both models on a batch and collect what the objectives compare."""
