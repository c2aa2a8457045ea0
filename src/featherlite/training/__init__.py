"""Training: fit is the only loop."""
