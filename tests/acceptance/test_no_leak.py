"""Secrets in passwords, arguments and exceptions stay out of answers and logs; so do worker names and paths."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from support.redis_users import running_redis_with_users, service_environ, worker_url
from support.servers import running_service, running_worker, wait_until

#: the secret; no redaction rule recognizes it by its form
CANARY = "kanarienvogel"
#: part of a worker's name and of paths, which only the scope `tracebacks` permits
PLACE = "vogelhaus"
#: tasks that fail, with their arguments
TASKS = [
    *(
        ("leaky.say", {"text": text})
        for text in (
            "password={secret}",
            "config: {{'db_password': '{secret}', 'host': 'db'}}",
            "GET https://bob:{secret}@api.example.com/v1 failed",
            "GET https://api.example.com/v1?access_token={secret}&page=2 failed",
            "Authorization: Bearer {secret}",
            "-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----",
            "see /etc/{place}/settings.ini or ~/{place}/x",
            'header "X-Api-Key": "{secret}" was refused',
        )
    ),
    ("leaky.open", {}),
    ("leaky.chain", {}),
    ("leaky.details", {}),
    ("leaky.retry", {}),
    ("leaky.raw", {}),
]


class Everything(NamedTuple):
    """The running service, its log, two keys, and all answers so far."""

    url: str
    log: Path
    outside: str
    inside: str
    #: the key of each request, and the text of the answer
    answers: list[tuple[str | None, str]]

    def request(self, method: str, path: str, *, key: str | None = None, **options: object) -> requests.Response:
        """Send a request, and keep the whole answer."""
        headers = {"Authorization": f"Bearer {key or self.outside}", **options.pop("headers", {})}
        response = requests.request(method, self.url + path, headers=headers, timeout=10, **options)
        self.answers.append((key, f"{response.status_code} {response.headers} {response.text}"))
        return response


def make_key(file: Path, scopes: str) -> str:
    """Create a key with the command that operators use."""
    command = [sys.executable, "-m", "task_status_service.cli", "keys", "add", "shop", "--scopes", scopes]
    made = subprocess.run([*command, "--file", str(file)], check=True, capture_output=True, text=True)
    return made.stdout.split()[-1]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """A Redis with the users of docs/redis-users.md, a worker on the host `PLACE`, and the service with keys."""
    folder = tmp_path_factory.mktemp(PLACE)
    keys_file = folder / "keys.json"
    outside, inside = (make_key(keys_file, f"submit,read,cancel{more}") for more in ("", ",tracebacks"))
    with running_redis_with_users(folder, queues=["celery"], password=CANARY) as server:
        environ = {**service_environ(server, CANARY), "TASK_STATUS_API_KEYS_FILE": str(keys_file)}
        with (
            running_worker("acceptance.leaky_app", redis_url=worker_url(server, CANARY), folder=folder, host=PLACE),
            running_service(environ, folder=folder) as url,
        ):
            wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
            site = Everything(url, folder / "service.log", outside, inside, [])
            run_and_read_all(site)
            send_invalid_requests(site)
            server.stop()
            # The server checks its parts once a second.
            wait_until(lambda: site.request("GET", "/readyz").status_code == 503, what="the check of the parts")
            for path in ("/readyz", "/tasks", "/tasks/a", "/tasks/a?wait=0", "/tasks/a/events"):
                assert site.request("GET", path).status_code == 503
            yield site


def run_and_read_all(everything: Everything) -> None:
    """Run each task, and read it in every way."""
    ids = []
    for number, (name, kwargs) in enumerate(TASKS):
        submission = {"name": name, "kwargs": {"secret": CANARY, "place": PLACE, **kwargs}}
        response = everything.request(
            "POST", "/tasks", json=submission, headers={"Idempotency-Key": f"{CANARY}{number}"}
        )
        assert response.status_code == 202
        ids.append(response.json()["id"])

    def has_failed(task_id: str) -> bool:
        return everything.request("GET", f"/tasks/{task_id}").json()["state"] in {"failed", "retrying"}

    for task_id in ids:
        wait_until(partial(has_failed, task_id), what=f"the end of {task_id}")
        for path in ("?wait=0", "/result"):
            everything.request("GET", f"/tasks/{task_id}{path}")
        everything.request("GET", f"/tasks/{task_id}", key=everything.inside)
    asked_for = "&".join(f"id={task_id}" for task_id in ids)
    retrying = next(
        task_id for task_id in ids if everything.request("GET", f"/tasks/{task_id}").json()["state"] == "retrying"
    )
    assert everything.request("POST", f"/tasks/{retrying}/cancel", json={}).status_code == 202
    done = "&".join(f"id={task_id}" for task_id in ids if task_id != retrying)
    for path in (f"/tasks?{asked_for}", "/tasks?limit=200", "/tasks?state=failed", f"/events?{done}"):
        assert everything.request("GET", path).ok
        assert everything.request("GET", path, key=everything.inside).ok
    assert everything.request("GET", f"/tasks/{ids[0]}/events").ok
    everything.request("POST", f"/tasks/{ids[0]}/retry", headers={"Idempotency-Key": CANARY})


def send_invalid_requests(everything: Everything) -> None:
    """Send each kind of invalid request with the secret in it, which problems and the log may quote."""
    wrong = {"name": "leaky.number", "kwargs": {"secret": 1, "how_many": CANARY}}
    assert everything.request("POST", "/tasks", json=wrong).status_code == 422
    for key in (f"tsk_0123456789ab_{CANARY}", CANARY, f"tst_{CANARY}.{CANARY}"):
        assert everything.request("GET", "/tasks", key=key).status_code == 401
    assert everything.request("GET", f"/tasks/a/events?access_token=tst_{CANARY}.{CANARY}.x").status_code != 200
    host, port = everything.url.removeprefix("http://").split(":")
    for request in (
        f"GET /\x1b[31m HTTP/9.9\r\nAuthorization: Bearer tsk_0123456789ab_{CANARY}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer tsk_0123456789ab_{CANARY}\x1b[31m\r\n\r\n",
        f"GET /?access_token=tst_{CANARY}.{CANARY} NONSENSE\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(request.encode())
            # gunicorn quotes invalid HTTP in its answer.
            assert b" 400 " in client.recv(65_536)


def test_no_secret_in_answers(everything: Everything):
    """No answer contains the secret; paths, worker names and tracebacks need the scope `tracebacks`."""
    asked_from_outside = [text for key, text in everything.answers if key != everything.inside]

    assert len(everything.answers) > len(asked_from_outside) > 50
    assert not [text for _, text in everything.answers if CANARY in text]
    assert not [text for text in asked_from_outside if PLACE in text or "Traceback" in text]


def test_no_secret_in_the_log(everything: Everything):
    """The log contains neither the secret nor terminal escape sequences."""
    text = everything.log.read_text()

    assert re.search(r"Redis at 127\.0\.0\.1:\d+ refuses connections", text)
    assert CANARY not in text
    assert "\x1b" not in text


def test_redacted_answers_stay_useful(everything: Everything):
    """Redacted messages remain readable; a key with `tracebacks` also gets tracebacks and paths."""
    outside, inside = (
        "\n".join(text for key, text in everything.answers if (key == everything.inside) is is_inside)
        for is_inside in (False, True)
    )

    for text in (
        "password=[redacted]",
        "No such file or directory: '[path]'",
        "it did not work",
        "[redacted]@api.example",
    ):
        assert text in outside
    for text in ("Traceback (most recent call last)", "leaky_app.py", f"@{PLACE}", f"/nowhere/{PLACE}/"):
        assert text in inside
