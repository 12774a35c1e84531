"""The corpus once more, through a real Redis and the whole HTTP side: no stored value gives an error."""

import json
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from support.servers import RedisServer
from support.stored_values import ROWS, stored_bytes
from task_status_service.app import create_service
from task_status_service.settings import Settings


@pytest.fixture(scope="module")
def client(redis_server: RedisServer) -> FlaskClient:
    """Give a client of the app with its real parts."""
    url = redis_server.url
    return create_service(Settings(broker_url=url, result_url=url, record_url=url)).app.test_client()


def put(client: redis.Redis, row: dict[str, Any]) -> None:
    """Put a value under Celery's key, as it was found."""
    key = f"celery-task-meta-{row['task_id']}"
    match row["redis_type"]:
        case "string":
            client.set(key, stored_bytes(row) or b"")
        case "list":
            client.rpush(key, "x")
        case "set":
            client.sadd(key, "x")
        case "zset":
            client.zadd(key, {"x": 1})
        case "stream":
            client.xadd(key, {"x": "1"})


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_answers(client: FlaskClient, redis_url: str, row: dict[str, Any]) -> None:
    """Each value gives the expected answer: a status that any JSON reader can read, or 404."""
    with redis.Redis.from_url(redis_url) as hands:
        put(hands, row)

    response = client.get(f"/tasks/{row['task_id']}")

    expected = row["expected"]
    assert response.status_code == expected["http_status"]
    if expected["http_status"] == 200:
        task = json.loads(response.data, parse_constant=pytest.fail)
        for name in ("state", "done", "celery_state", "finished_at"):
            assert task[name] == expected[name]
        assert {diagnostic["code"] for diagnostic in task["diagnostics"]} == set(expected["diagnostics"])
