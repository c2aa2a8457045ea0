"""Many networks in one run: what they are, how they are walked, and what comes out."""
