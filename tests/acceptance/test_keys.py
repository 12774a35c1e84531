"""The real server with API keys that are added and revoked while it runs."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from support.keys import bearer
from support.servers import RedisServer, running_service, wait_until


def keys(path: Path, *words: str) -> str:
    """Run a `task-status keys` command; return its output."""
    command = [sys.executable, "-m", "task_status_service.cli", "keys", *words, "--file", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_keys_change_while_the_server_runs(real_redis: RedisServer, tmp_path: Path) -> None:
    """Added and revoked keys take effect within seconds; owners see only their own tasks."""
    path = tmp_path / "keys.json"
    keys(path, "init")
    environ = {
        "TASK_STATUS_REDIS_URL": real_redis.url,
        "TASK_STATUS_API_KEYS_FILE": str(path),
        "TASK_STATUS_TASKS": "shop.pay",
    }
    with running_service(environ, folder=tmp_path) as url, requests.Session() as session:

        def get(where: str, key: str | None) -> requests.Response:
            return session.get(f"{url}{where}", headers=bearer(key) if key else {}, timeout=10)

        assert get("/tasks", None).status_code == 401
        first, second, other = (
            keys(path, "add", name, "--scopes", "submit,read").split()[-1] for name in ("web", "web", "app")
        )
        # Not too often: failed authentication is rate-limited per address.
        wait_until(lambda: get("/tasks", other).ok, timeout=10, pause=0.2, what="the keys to be valid")

        answer = session.post(f"{url}/tasks", json={"name": "shop.pay"}, headers=bearer(first), timeout=10)
        where = answer.headers["Location"]
        assert answer.status_code == 202
        assert get(where, second).json() == answer.json()
        token = session.post(f"{url}{where}/tokens", headers=bearer(first), timeout=10).json()["token"]
        assert get(where, token).json() == answer.json()
        unknown = get("/tasks/unknown", other)
        hidden = get(where, other)
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.json()["detail"] == unknown.json()["detail"]
        assert get("/tasks", other).json()["items"] == []

        keys(path, "revoke", first.split("_")[1])
        wait_until(lambda: get(where, first).status_code == 401, timeout=10, what="the key to be invalid")
        assert get(where, token).status_code == 401
        assert get(where, second).status_code == 200

        path.write_text("{")
        log = tmp_path / "service.log"
        wait_until(
            lambda: get(where, second).ok and "remain valid" in log.read_text(),
            timeout=10,
            what="a line about the broken file",
        )
        # gunicorn quotes requests that it cannot answer.
        for nonsense in (
            f"GET {where}/events?access_token={token} HTTP/9.9.9",
            f"GET {where}/events?access_token={token}",
            f"GET / HTTP/1.1\r\nAuthorization: Bearer {second}\r\nAuthorization : Bearer {second}",
            f"GET / HTTP/1.1\r\nAuthorization: Bearer {second}\x00",
            f"Bearer {second} / HTTP/1.1",
        ):
            host, _, port = url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=10) as raw:
                raw.sendall(f"{nonsense}\r\n\r\n".encode())
                assert raw.recv(100).startswith(b"HTTP/1.1 4")
        wait_until(lambda: log.read_text().count("Invalid") >= 5, timeout=10, what="five lines about nonsense")
        for secret in (first, second, other, token):
            assert secret not in log.read_text()


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        ({"TASK_STATUS_BIND": "0.0.0.0:8000"}, "without TASK_STATUS_API_KEYS_FILE"),
        ({"TASK_STATUS_BIND": "0.0.0.0:8000", "TASK_STATUS_API_KEYS_FILE": "/no/such/file"}, "cannot be read"),
    ],
)
def test_does_not_start(environ: dict[str, str], error: str) -> None:
    """The server does not start without a readable keys file on a public address."""
    command = [sys.executable, "-m", "task_status_service.cli", "serve"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=30)

    assert done.returncode == 1
    assert error in done.stderr
    assert "Traceback" not in done.stderr
