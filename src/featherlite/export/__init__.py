"""Steps that write artefacts."""
