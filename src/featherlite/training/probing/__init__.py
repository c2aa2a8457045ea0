"""Probing: one layer fitted in closed or convex form on what the frozen layers before it say of photos."""
