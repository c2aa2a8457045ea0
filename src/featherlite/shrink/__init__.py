"""Steps that make a network smaller: one file per technique."""
