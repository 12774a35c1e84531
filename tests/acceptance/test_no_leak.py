"""A word that is a secret, in passwords, arguments and exceptions; and one that is a place. Neither may get outside."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from support.redis_users import apply_users, url_of
from support.servers import running_redis, running_service, running_worker, wait_until

#: no rule knows it by its looks
CANARY = "kanarienvogel"
#: part of a worker's name and of paths: for those with the scope `tracebacks`
PLACE = "vogelhaus"
#: every task whose failure is told, and with what
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
    """What runs, who may ask, and what all has answered so far."""

    url: str
    log: Path
    outside: str
    inside: str
    #: the key of who asked, and what was answered
    answers: list[tuple[str | None, str]]

    def ask(self, method: str, path: str, *, key: str | None = None, **options: object) -> requests.Response:
        """Ask, and keep the whole answer."""
        headers = {"Authorization": f"Bearer {key or self.outside}", **options.pop("headers", {})}
        response = requests.request(method, self.url + path, headers=headers, timeout=10, **options)
        self.answers.append((key, f"{response.status_code} {response.headers} {response.text}"))
        return response


def make_key(file: Path, scopes: str) -> str:
    """Make a key as an operator does."""
    command = [sys.executable, "-m", "task_status_service.cli", "keys", "add", "shop", "--scopes", scopes]
    made = subprocess.run([*command, "--file", str(file)], check=True, capture_output=True, text=True)
    return made.stdout.split()[-1]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """Run a Redis with the users of docs/redis-users.md, a worker on a host of that name, and the service with keys."""
    folder = tmp_path_factory.mktemp(PLACE)
    keys_file = folder / "keys.json"
    outside, inside = (make_key(keys_file, f"submit,read,cancel{more}") for more in ("", ",tracebacks"))
    with running_redis(folder) as server:
        apply_users(server, CANARY)
        environ = {
            "TASK_STATUS_REDIS_URL": url_of(server, "status-api", CANARY),
            "TASK_STATUS_BROKER_URL": url_of(server, "status-send", CANARY),
            "TASK_STATUS_API_KEYS_FILE": str(keys_file),
        }
        worker_url = url_of(server, "worker", CANARY)
        with (
            running_worker("acceptance.leaky_app", redis_url=worker_url, folder=folder, host=PLACE),
            running_service(environ, folder=folder) as url,
        ):
            wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
            all_of_it = Everything(url, folder / "service.log", outside, inside, [])
            run_and_read_all(all_of_it)
            ask_wrongly(all_of_it)
            server.stop()
            for path in ("/readyz", "/tasks", "/tasks/a", "/tasks/a?wait=0", "/tasks/a/events"):
                assert all_of_it.ask("GET", path).status_code == 503
            yield all_of_it


def run_and_read_all(everything: Everything) -> None:
    """Run each task, and read what became of it in every way."""
    ids = []
    for number, (name, kwargs) in enumerate(TASKS):
        submission = {"name": name, "kwargs": {"secret": CANARY, "place": PLACE, **kwargs}}
        response = everything.ask("POST", "/tasks", json=submission, headers={"Idempotency-Key": f"{CANARY}{number}"})
        assert response.status_code == 202
        ids.append(response.json()["id"])

    def has_failed(task_id: str) -> bool:
        return everything.ask("GET", f"/tasks/{task_id}").json()["state"] in {"failed", "retrying"}

    for task_id in ids:
        wait_until(partial(has_failed, task_id), what=f"the end of {task_id}")
        for path in ("?wait=0", "/result"):
            everything.ask("GET", f"/tasks/{task_id}{path}")
        everything.ask("GET", f"/tasks/{task_id}", key=everything.inside)
    asked_for = "&".join(f"id={task_id}" for task_id in ids)
    retrying = next(
        task_id for task_id in ids if everything.ask("GET", f"/tasks/{task_id}").json()["state"] == "retrying"
    )
    assert everything.ask("POST", f"/tasks/{retrying}/cancel", json={}).status_code == 202
    done = "&".join(f"id={task_id}" for task_id in ids if task_id != retrying)
    for path in (f"/tasks?{asked_for}", "/tasks?limit=200", "/tasks?state=failed", f"/events?{done}"):
        assert everything.ask("GET", path).ok
        assert everything.ask("GET", path, key=everything.inside).ok
    assert everything.ask("GET", f"/tasks/{ids[0]}/events").ok
    everything.ask("POST", f"/tasks/{ids[0]}/retry", headers={"Idempotency-Key": CANARY})


def ask_wrongly(everything: Everything) -> None:
    """Make each kind of mistake with the secret in it, of which problems and the log speak."""
    wrong = {"name": "leaky.number", "kwargs": {"secret": 1, "how_many": CANARY}}
    assert everything.ask("POST", "/tasks", json=wrong).status_code == 422
    for key in (f"tsk_0123456789ab_{CANARY}", CANARY, f"tst_{CANARY}.{CANARY}"):
        assert everything.ask("GET", "/tasks", key=key).status_code == 401
    assert everything.ask("GET", f"/tasks/a/events?access_token=tst_{CANARY}.{CANARY}.x").status_code != 200
    host, port = everything.url.removeprefix("http://").split(":")
    for request in (
        f"GET /\x1b[31m HTTP/9.9\r\nAuthorization: Bearer tsk_0123456789ab_{CANARY}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer tsk_0123456789ab_{CANARY}\x1b[31m\r\n\r\n",
        f"GET /?access_token=tst_{CANARY}.{CANARY} NONSENSE\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(request.encode())
            # To whoever sent it, gunicorn quotes what is no HTTP.
            assert b" 400 " in client.recv(65_536)


def test_nowhere_outside(everything: Everything):
    """In no body, header, event or problem, whoever asks; and where tasks run is for those who may know."""
    asked_from_outside = [text for key, text in everything.answers if key != everything.inside]

    assert len(everything.answers) > len(asked_from_outside) > 50
    assert not [text for _, text in everything.answers if CANARY in text]
    assert not [text for text in asked_from_outside if PLACE in text or "Traceback" in text]


def test_nowhere_in_the_log(everything: Everything):
    """Nor in what the service logs; which has nothing in it that a terminal obeys."""
    text = everything.log.read_text()

    assert "store-unavailable" in text
    assert CANARY not in text
    assert "\x1b" not in text


def test_what_is_told_is_of_use(everything: Everything):
    """From outside the message is left, from inside the traceback too."""
    outside, inside = (
        "\n".join(text for key, text in everything.answers if (key == everything.inside) is is_inside)
        for is_inside in (False, True)
    )

    for told in (
        "password=[redacted]",
        "No such file or directory: '[path]'",
        "it did not work",
        "[redacted]@api.example",
    ):
        assert told in outside
    for told in ("Traceback (most recent call last)", "leaky_app.py", f"@{PLACE}", f"/nowhere/{PLACE}/"):
        assert told in inside
