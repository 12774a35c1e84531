"""Real processes under real faults; a checker afterwards compares what the service reported with what happened."""
