"""What an artefact costs where it runs: time, memory, energy, and on which machine that was."""
