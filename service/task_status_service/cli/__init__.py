"""Commands: `task-status` and its subcommands."""
