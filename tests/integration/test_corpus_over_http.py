"""The corpus of stored values through a real Redis and the HTTP API: no value causes an error."""

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
    """A client of the complete app."""
    url = redis_server.url
    return create_service(Settings(broker_url=url, result_url=url, record_url=url)).app.test_client()


def put(client: redis.Redis, row: dict[str, Any]) -> None:
    """Store a value of the corpus under Celery's key, with its Redis type."""
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
def test_each_value_has_the_expected_status(client: FlaskClient, redis_url: str, row: dict[str, Any]) -> None:
    """Each value is returned as the expected status, in strict JSON, or as 404."""
    with redis.Redis.from_url(redis_url) as redis_client:
        put(redis_client, row)

    response = client.get(f"/tasks/{row['task_id']}")

    expected = row["expected"]
    assert response.status_code == expected["http_status"]
    if expected["http_status"] == 200:
        task = json.loads(response.data, parse_constant=pytest.fail)
        for name in ("state", "done", "celery_state", "finished_at"):
            assert task[name] == expected[name]
        assert {diagnostic["code"] for diagnostic in task["diagnostics"]} == set(expected["diagnostics"])
