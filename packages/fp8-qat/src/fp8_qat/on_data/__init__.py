"""What needs batches: calibration, noise, sensitivity, and the baseline to beat."""
