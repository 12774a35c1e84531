"""Texts of strangers on their way to Redis: what is no id is in no command, and a key of a client is hashed."""

from urllib.parse import quote

import pytest
from task_status_service.app import create_service
from task_status_service.settings import Settings
from task_status_service.task_types.catalog import TaskNames

#: what must not be seen in any command
MARK = "zzmarkzz"
HOSTILE = [
    f"{MARK}*", f"{MARK}?", f"[{MARK}]", f"{MARK}\x00", f"{MARK}\r\nFLUSHALL", f"../{MARK}", f"{MARK}\n", f"-{MARK}",
    f"{MARK}é", f"{MARK}😀", MARK + "a" * 121, f"{MARK} 1", f"{MARK}'", f'{MARK}"', f"{{{MARK}}}", f"${MARK}",
]  # fmt: skip


@pytest.fixture
def client(redis_url):
    """Give a client of a service with a real Redis."""
    return create_service(
        Settings(broker_url=redis_url, result_url=redis_url, record_url=redis_url, tasks=TaskNames.parse("shop.*"))
    ).app.test_client()


def test_nothing_of_it_reaches_redis(client, redis_server):
    """Refused as what cannot be, on every route; Redis sees nothing of it."""
    with redis_server.client() as looking, looking.monitor() as monitor:
        for text in HOSTILE:
            path = f"/tasks/{quote(text, safe='')}"
            codes = {client.open(path + more, method=method).status_code for method, more in ROUTES}
            codes.add(client.get(path, query_string={"wait": "0"}).status_code)
            assert codes <= {404, 405}, text
            for route in ("/tasks", "/events"):
                assert client.get(route, query_string={"id": text}).status_code == 422, text
        # A key that is one is used, hashed; one that is none is refused.
        submission = {"name": "shop.pay"}
        assert client.post("/tasks", json=submission, headers={"Idempotency-Key": f"{MARK}*"}).status_code == 202
        assert client.post("/tasks", json=submission, headers={"Idempotency-Key": f"{MARK} é"}).status_code == 422
        assert client.post("/tasks", json=submission, query_string={"cursor": MARK}).status_code == 202
        looking.echo("that was all")

        seen = [monitor.next_command()["command"]]
        while seen[-1] != "ECHO that was all":
            seen.append(monitor.next_command()["command"])
    assert any("task-status:claim:" in command for command in seen)
    assert [command for command in seen if MARK in command] == []
    assert [command for command in seen if command.startswith(("KEYS", "SCAN", "PSUBSCRIBE"))] == []


ROUTES = [
    ("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"),
    ("POST", "/tokens"),
]  # fmt: skip
