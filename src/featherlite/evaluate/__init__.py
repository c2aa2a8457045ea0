"""Measuring: metrics, scores, verification."""
