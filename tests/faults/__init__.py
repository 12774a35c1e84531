"""Real processes, real faults, and a checker afterwards: nothing accepted is lost, nothing untrue is told."""
