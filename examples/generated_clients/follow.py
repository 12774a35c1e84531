import os

from task_status_client import AuthenticatedClient
from task_status_client.api.tasks import get_task, submit_task
from task_status_client.models import Submission, TaskStatus

with AuthenticatedClient(os.environ["TASK_STATUS_URL"], os.environ["TASK_STATUS_API_KEY"]) as client:
    task = submit_task.sync(client=client, body=Submission("demo.count", args=[20]))
    while isinstance(task, TaskStatus) and not task.done:
        print(task.state, task.progress.percent if task.progress else "")
        task = get_task.sync(task.id, client=client, wait=5)
    print((task.state, task.result) if isinstance(task, TaskStatus) else task)
