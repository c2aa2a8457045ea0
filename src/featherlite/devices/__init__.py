"""Device profiles as data: one TOML each."""
