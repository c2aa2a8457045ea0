"""Steps that turn a network into integers."""
