"""No Redis command contains an invalid id, an Idempotency-Key or a filter by label that a client sent."""

from urllib.parse import quote

import pytest
from task_status_service.app import create_service
from task_status_service.settings import Settings
from task_status_service.task_types.catalog import TaskNames

#: a text that no command may contain
MARK = "zzmarkzz"
HOSTILE = [
    f"{MARK}*", f"{MARK}?", f"[{MARK}]", f"{MARK}\x00", f"{MARK}\r\nFLUSHALL", f"../{MARK}", f"{MARK}\n", f"-{MARK}",
    f"{MARK}é", f"{MARK}😀", MARK + "a" * 121, f"{MARK} 1", f"{MARK}'", f'{MARK}"', f"{{{MARK}}}", f"${MARK}",
]  # fmt: skip


@pytest.fixture
def client(redis_url):
    """A client of a service with a real Redis."""
    return create_service(
        Settings(broker_url=redis_url, result_url=redis_url, record_url=redis_url, tasks=TaskNames.parse("shop.*"))
    ).app.test_client()


def test_hostile_ids_and_keys_do_not_reach_redis(client, redis_server):
    """Every route rejects an invalid id, and Redis receives no part of it."""
    with redis_server.client() as observer, observer.monitor() as monitor:
        for text in HOSTILE:
            path = f"/tasks/{quote(text, safe='')}"
            codes = {client.open(path + more, method=method).status_code for method, more in ROUTES}
            codes.add(client.get(path, query_string={"wait": "0"}).status_code)
            assert codes <= {404, 405}, text
            for route in ("/tasks", "/events"):
                assert client.get(route, query_string={"id": text}).status_code == 422, text
        # A valid Idempotency-Key is hashed, and an invalid one is rejected.
        submission = {"name": "shop.pay"}
        assert client.post("/tasks", json=submission, headers={"Idempotency-Key": f"{MARK}*"}).status_code == 202
        assert client.post("/tasks", json=submission, headers={"Idempotency-Key": f"{MARK} é"}).status_code == 422
        assert client.post("/tasks", json=submission, query_string={"cursor": MARK}).status_code == 202
        # The key of a label is a digest.
        for query in ({"label": f"a:{MARK}*"}, {"label": [f"{MARK}:42", "b:c"]}, {"label": f"{MARK}/a:{MARK}"}):
            assert client.get("/tasks", query_string=query).status_code == 200
        observer.echo("end of the test")

        seen = [monitor.next_command()["command"]]
        while seen[-1] != "ECHO end of the test":
            seen.append(monitor.next_command()["command"])
    assert any("task-status:claim:" in command for command in seen)
    assert [command for command in seen if MARK in command] == []
    assert [command for command in seen if command.startswith(("KEYS", "SCAN", "PSUBSCRIBE"))] == []


ROUTES = [
    ("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"),
    ("POST", "/tokens"),
]  # fmt: skip
