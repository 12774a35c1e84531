"""Run the `task-status` command as `python -m task_status_service.cli`."""

from task_status_service.cli.main import main

if __name__ == "__main__":
    main()
