"""Stored values that cost as much as possible delay no other client, whatever is read of them."""

import contextlib
import http.client
import itertools
import json
import multiprocessing
import re
import statistics
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from support.bombs import bombs
from support.keys import add_key, bearer
from support.servers import RedisServer, Server, running_redis, server_process
from support.stored_values import ROWS, stored_bytes
from task_status_service.store.records import RedisStore
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

from faults.report import Counter
from faults.site import PATIENCE_SECONDS

BOMBS: Final = 200
SEED: Final = 20_261_127
ATTACK_SECONDS: Final = 30.0
#: pause between two reads of the other client
PAUSE_SECONDS: Final = 0.01
#: limit of 99 of 100 reads of another owner's plain task, beyond the time of such reads without hostile values
P99_SECONDS: Final = 0.25
#: the ids of one batch or stream
BATCH: Final = 100
KEYS: Final = Keys.under("")
#: the cursor of the next page; parsing pages of megabytes would take the processor from the server
_CURSOR: Final = re.compile(rb'"next_cursor":"([^"]++)"')
#: counted as the status of a request without an answer
_NO_ANSWER: Final = 599


def test_hostile_values_delay_no_other_client(tmp_path: Path, count: Counter) -> None:
    """One client reads hostile values in every way; another one's reads stay fast, and the process survives."""
    keys_file = tmp_path / "keys.json"
    hostile_key, plain_key = (add_key(keys_file, name) for name in ("mallory", "bob"))
    settings = {"TASK_STATUS_API_KEYS_FILE": str(keys_file), "TASK_STATUS_REQUESTS_PER_SECOND": "0"}
    with running_redis(tmp_path) as database:
        hostile_ids = _store_all(database)
        environ = {"TASK_STATUS_REDIS_URL": database.url, "TASK_STATUS_WORKERS": "1", **settings}
        with server_process(environ, folder=tmp_path, patience_seconds=PATIENCE_SECONDS) as server:
            processes = _processes(server)
            alone = _read_plain_task(server, plain_key, seconds=2.0)
            with _attack(server, hostile_key, hostile_ids) as attack:
                beside = _read_plain_task(server, plain_key, seconds=ATTACK_SECONDS)
            memory_mib = max(_peak_memory_mib(process) for process in processes)
            assert _processes(server) == processes
    count("hostile values: stored", len(hostile_ids))
    count("- answers to the client that reads them", sum(attack.values()))
    count("- errors (5xx) among them", sum(number for code, number in attack.items() if code >= 500), 0)
    count("- reads of another client beside it: number", len(beside))
    count("- their median", f"{statistics.median(beside) * 1000:.0f} ms")
    count("- 99 of 100 within", f"{_p99(beside) * 1000:.0f} ms", f"< {P99_SECONDS * 1000:.0f} ms")
    count("- the slowest", f"{max(beside) * 1000:.0f} ms")
    count("- 99 of 100 within, without the reads of hostile values", f"{_p99(alone) * 1000:.0f} ms")
    count("- peak memory of the process", f"{memory_mib:.0f} MiB")
    assert min(attack) >= 200
    assert not [code for code in attack if code >= 500]
    assert set(attack) & {200}
    assert _p99(beside) < P99_SECONDS + _p99(alone)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def _store_all(database: RedisServer) -> list[str]:
    """Store corpus and bombs as tasks of one owner, and a plain task of another; return the ids of the first owner."""
    with contextlib.closing(_store(database)) as store, database.client() as results:
        corpus = [value for row in ROWS if (value := stored_bytes(row)) is not None]
        values = itertools.chain(corpus, (value for _, value in bombs(BOMBS, seed=SEED)))
        task_ids = []
        for number, value in enumerate(values):
            task_ids.append(f"hostile-{number}")
            store.note(Note(task_id=task_ids[-1], fact=Fact.SUBMITTED, owner="mallory", name="app.hostile"))
            results.set(KEYS.meta(task_ids[-1]), value)
        store.note(Note(task_id="plain", fact=Fact.SUBMITTED, owner="bob", name="app.plain"))
        results.set(
            KEYS.meta("plain"), b'{"status": "PROGRESS", "result": {"done": 1, "total": 4}, "task_id": "plain"}'
        )
    return task_ids


def _store(database: RedisServer) -> RedisStore:
    return RedisStore(redis.Redis.from_url(database.url), results=None, keys=KEYS, retention=Retention())


def _processes(server: Server) -> list[int]:
    """Return the ids of the server processes."""
    master = server.process.pid
    return [int(child) for child in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def _peak_memory_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _read_plain_task(server: Server, key: str, *, seconds: float) -> list[float]:
    """Read the plain task again and again; return the seconds that each read took."""
    took: list[float] = []
    with contextlib.closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            started = time.monotonic()
            connection.request("GET", "/tasks/plain", headers=bearer(key))
            response = connection.getresponse()
            body = json.loads(response.read())
            took.append(time.monotonic() - started)
            assert response.status == 200, body
            assert body["state"] == "running"
            time.sleep(PAUSE_SECONDS)
    return took


@contextlib.contextmanager
def _attack(server: Server, key: str, task_ids: list[str]) -> Iterator[Tally[int]]:
    """Read the hostile values in another process during a `with` block; at its end, fill the numbers of answers."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    stop: Any = context.Event()
    process = context.Process(target=_read_all, args=(server.url, key, task_ids, stop, results), daemon=True)
    process.start()
    tally: Tally[int] = Tally()
    try:
        yield tally
    finally:
        stop.set()
        tally.update(results.get(timeout=120))
        process.join()


def _read_all(url: str, key: str, task_ids: list[str], stop: Any, results: Any) -> None:
    """Read the tasks in every way until the end, each way over its own connection."""
    batches = [task_ids[first : first + BATCH] for first in range(0, len(task_ids), BATCH)]
    ways = [
        [f"/tasks/{task_id}" for task_id in task_ids],
        [f"/tasks/{task_id}/result" for task_id in task_ids],
        [f"/tasks/{task_id}/events" for task_id in task_ids],
        [f"/tasks?id={','.join(batch)}" for batch in batches],
        [f"/events?id={','.join(batch)}" for batch in batches],
        [f"/tasks/{task_id}?wait" for task_id in task_ids],
        ["/tasks?limit=200"],
    ]
    tally: Tally[int] = Tally()
    threads = [threading.Thread(target=_read_one_way, args=(url, key, paths, stop, tally)) for paths in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(dict(tally))


def _read_one_way(url: str, key: str, paths: list[str], stop: Any, tally: Tally[int]) -> None:
    headers = bearer(key)
    cursor = None
    for way in itertools.cycle(paths):
        if stop.is_set():
            return
        path, wait = way.removesuffix("?wait"), way.endswith("?wait")
        asked = f"{path}&cursor={cursor}" if cursor else path
        try:
            status, body = _get(url, asked, {**headers, "Prefer": "wait=1"} if wait else headers)
        except (OSError, http.client.HTTPException):
            status, body = _NO_ANSWER, b""
        tally[status] += 1
        found = _CURSOR.search(body) if "limit" in path else None
        cursor = found and found[1].decode()


def _get(url: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Return the status and the body; of a stream, which lasts for minutes, its first event."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if "events" not in path:
            return response.status, response.read()
        return response.status, next((line for line in response if line.startswith(b"data:")), b"")
