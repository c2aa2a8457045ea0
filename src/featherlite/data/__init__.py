"""Photos: read, split, decoded once, drawn."""
