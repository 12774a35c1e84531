"""The corpus once more, through a real Redis and the whole HTTP side: no stored value gives an error."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from task_status_service.app import create_app
from task_status_service.settings import Settings

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "corpus" / "stored_values.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture(scope="module")
def client(redis_server: Any) -> FlaskClient:
    """Give a client of the app with its real parts."""
    url = redis_server.url
    return create_app(Settings(broker_url=url, result_url=url, record_url=url)).test_client()


def put(client: redis.Redis, row: dict[str, Any]) -> None:
    """Put a value under Celery's key, as it was found."""
    key = f"celery-task-meta-{row['task_id']}"
    client.delete(key)
    match row["redis_type"]:
        case "string":
            packed = row.get("raw_b64")
            client.set(key, base64.b64decode(packed) if packed is not None else unpacked(row))
        case "list":
            client.rpush(key, "x")
        case "set":
            client.sadd(key, "x")
        case "zset":
            client.zadd(key, {"x": 1})
        case "stream":
            client.xadd(key, {"x": "1"})


def unpacked(row: dict[str, Any]) -> bytes:
    """Give the bytes of a large value."""
    return zlib.decompress(base64.b64decode(row["raw_zlib_b64"]))


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
        for name in ("state", "done", "celery_state", "children", "finished_at"):
            assert task[name] == expected[name]
        assert {diagnostic["code"] for diagnostic in task["diagnostics"]} == set(expected["diagnostics"])
