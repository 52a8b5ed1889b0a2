"""What every operator stands on: checks, autocast, registration, tiles, Triton."""
