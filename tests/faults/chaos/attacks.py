"""The attacks, each a small named function that runs until it is stopped.

`python -m faults.chaos.attacks TARGET COUNTS RATE NAME…` runs some of them, each in one thread or more, in a process
with a low priority: the attackers are other machines. TARGET is a JSON file with a `Target`; COUNTS is a file that
receives how often each attack has acted. RATE is the limit of the acts per second of each attack: the attackers share
the processors with the service, which rejects faster ones anyway.
"""

import contextlib
import http.client
import itertools
import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import redis
from task_status_service.status.stored.compression import PREFIX
from task_status_worker.record.announcement import Consumer, TaskType
from task_status_worker.record.connection import connect
from task_status_worker.record.keys import Keys

KEYS: Final = Keys()
HOSTILE: Final = "mallory"
HONEST: Final = "alice"
#: seconds after which the next attack of a process prepares its first act
_PREPARED_SECONDS: Final = 2.0
_HTTP_ERRORS: Final = (OSError, http.client.HTTPException)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The knowledge of the attackers."""

    url: str
    #: an ordinary key of the hostile tenant
    key: str
    #: a task token of the honest tenant as its pages have it, one that has expired, and its task
    token: str
    expired_token: str
    token_task: str
    #: Redis, as a broken worker uses it
    worker_url: str
    sentinel_master: str
    #: members that flood sorted sets and hashes
    flood: int

    def redis(self) -> Any:
        """Return a client that asks the sentinels for the master."""
        return connect(self.worker_url, timeout_seconds=5, sentinel_master=self.sentinel_master)


class Attack:
    """One running attack: its target, and requests as the hostile tenant."""

    def __init__(self, target: Target, stopped: threading.Event, *, rate: float) -> None:
        """Create an attack that acts at most `rate` times per second."""
        self.target = target
        self.stopped = stopped
        self._rate = rate
        self._lock = threading.Lock()
        self._next_at = 0.0
        self.address = urlsplit(target.url).netloc
        #: how often it has acted
        self.count = 0

    def until_stopped(self, act: Callable[[int], object], *, threads: int = 1, pause: float = 0.0) -> None:
        """Repeat an act in some threads; errors of the connection are part of an attack."""

        def repeat() -> None:
            for turn in itertools.count():
                if self.stopped.wait(max(pause, self.seconds_until_next())):
                    return
                self.count += 1
                with contextlib.suppress(*_HTTP_ERRORS, redis.RedisError, ValueError):
                    act(turn)

        others = [threading.Thread(target=repeat, daemon=True) for _ in range(threads - 1)]
        for other in others:
            other.start()
        repeat()

    def seconds_until_next(self) -> float:
        """Return the time until this thread may act, and reserve it."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next_at)
            self._next_at = at + 1 / self._rate
            return at - now

    def flood(self, request: Callable[[int], tuple[str, str, Any]], *, threads: int = 4, **options: Any) -> None:
        """Send requests over some kept connections, as fast as they are answered or the rate permits."""
        local = threading.local()

        def act(turn: int) -> None:
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection(self.address, timeout=10)
            try:
                self.send(local.connection, *request(turn), **options)
            except _HTTP_ERRORS:
                local.connection.close()

        self.until_stopped(act, threads=threads)

    def send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        claims: bool = False,
    ) -> Any:
        """Send a request, with a new idempotency key if it `claims`; return the body of a success."""
        headers = {"Authorization": f"Bearer {self.target.key if key is None else key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if claims:
            headers["Idempotency-Key"] = str(time.monotonic_ns() // 1_000_000)
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read()
        return json.loads(text) if response.status < 300 and text else None

    def tasks(self, count: int, **submission: Any) -> list[str]:
        """Submit some tasks and return their ids, as far as they are accepted."""
        ids = []
        connection = http.client.HTTPConnection(self.address, timeout=10)
        for _ in range(count):
            with contextlib.suppress(*_HTTP_ERRORS):
                answer = self.send(connection, "POST", "/tasks", {"name": "hostile.nothing", **submission})
                ids += [answer["id"]] if answer else []
        connection.close()
        return ids

    def stored(self, ids: list[str], value: bytes) -> list[str]:
        """Overwrite the results of tasks, as a broken worker does."""
        with self.target.redis() as client:
            for task_id in ids:
                client.set(KEYS.meta(task_id), value, ex=600)
        return ids

    def raw(self, text: bytes) -> None:
        with socket.create_connection(("127.0.0.1", urlsplit(self.target.url).port), timeout=1) as connection:
            connection.sendall(text)
            connection.recv(4096)


def queue_names(attack: Attack) -> None:
    """Submit to queues with the names of Redis keys."""
    queues = [
        *("task-status:index:state:retrying", f"task-status:index:owner:{HONEST}:state:canceling", "unacked"),
        *("unacked_index", "unacked_mutex", KEYS.claim(HONEST, "order-1"), "celery@x.celery.pidbox"),
        *(KEYS.meta("a"), "_kombu.binding.celery", "another-app", "honest\x06\x169", KEYS.epoch),
    ]
    attack.flood(
        lambda turn: ("POST", "/tasks", {"name": "hostile.nothing", "queue": queues[turn % len(queues)]}), threads=2
    )


def _gzip(body: bytes) -> bytes:
    return PREFIX + b"application/x-gzip\x00" + zlib.compress(body)


def page_of_bombs(attack: Attack) -> None:
    """List results that are small in Redis and large when decoded."""
    nested = b"[" * 150 + b"]" * 150
    body = b'{"status":"SUCCESS","result":[' + b",".join([nested] * 20_000) + b"]}"
    pairs = b'{"status":"SUCCESS","result":[' + b",".join([b"{}"] * 1_000_000) + b"]}"
    for value in (_gzip(body), _gzip(pairs)):
        attack.stored(attack.tasks(20), value)
    attack.flood(lambda _: ("GET", "/tasks?limit=100", None), threads=2)


def results_of_many_values(attack: Attack) -> None:
    """Run tasks that return large results of small values, and read them."""
    ids = attack.tasks(10, name="hostile.bomb")
    attack.flood(lambda turn: ("GET", f"/tasks/{ids[turn % len(ids)]}" if ids else "/tasks", None), threads=2)


def lists_by_label(attack: Attack) -> None:
    """List by a label that no task has, over tasks with many labels."""
    labels = {f"k{number}": "v" * 250 for number in range(30)}
    attack.tasks(150, labels=labels)
    attack.flood(lambda _: ("GET", "/tasks?limit=1&label=k0:nomatch", None), threads=16)


def hostile_schemas(attack: Attack) -> None:
    """Announce schemas that are slow to check, and submit tasks of these types."""
    levels: dict[str, Any] = {
        f"l{n}": {"unevaluatedItems": False, "$ref": f"#/$defs/l{n + 1}", "$dynamicRef": f"#/$defs/l{n + 1}"}
        for n in range(24)
    }
    slow = {"$defs": {**levels, "l24": {}}, "properties": {"x": {"unevaluatedItems": False, "$ref": "#/$defs/l0"}}}
    large = {"properties": {f"p{n}": {"type": "string", "pattern": "(a+)+$"} for n in range(20_000)}}
    with attack.target.redis() as client:
        now = float(client.time()[0])
        for name, schema in (("hostile.slow", slow), ("hostile.large", large)):
            announced = TaskType(
                name=name, queue="hostile", arguments=msgspec.Raw(msgspec.json.encode(schema)), announced_at=now
            )
            client.hset(KEYS.task_types, name, msgspec.json.encode(announced))
    attack.flood(
        lambda turn: ("POST", "/tasks", {"name": ("hostile.slow", "hostile.large")[turn % 2], "kwargs": {"x": [1]}}),
        threads=2,
    )


def many_task_types(attack: Attack) -> None:
    """Announce many types, and submit tasks of unknown types."""
    with attack.target.redis() as client:
        now = float(client.time()[0])
        for start in range(0, attack.target.flood, 1_000):
            entries = {
                f"hostile.t{n}": msgspec.json.encode(TaskType(name=f"hostile.t{n}", queue="hostile", announced_at=now))
                for n in range(start, start + 1_000)
            }
            client.hset(KEYS.task_types, mapping=entries)
    attack.flood(lambda turn: ("POST", "/tasks", {"name": f"hostile.unknown{turn}"}), threads=2)


def many_consumers(attack: Attack) -> None:
    """Announce many consumers with hostile queues, each with a heartbeat."""
    with attack.target.redis() as client:
        now = float(client.time()[0])
        announced = msgspec.json.encode(
            Consumer(task_types=["hostile.nothing"] * 50, queues=["unacked", "hostile"], announced_at=now)
        )
        for start in range(0, attack.target.flood // 10, 500):
            names = [f"hostile-{n}" for n in range(start, start + 500)]
            client.hset(KEYS.consumers, mapping=dict.fromkeys(names, announced))
            client.zadd(KEYS.workers, dict.fromkeys(names, now))
    attack.flood(lambda _: ("POST", "/tasks", {"name": "hostile.nothing", "queue": "unacked"}), threads=2)


def huge_arguments(attack: Attack) -> None:
    """Submit the largest arguments, as fast as possible."""
    attack.flood(lambda _: ("POST", "/tasks", {"name": "hostile.nothing", "args": ["x" * 260_000]}), threads=4)


def idempotency_keys(attack: Attack) -> None:
    """Submit with a new idempotency key each millisecond, over several connections."""
    attack.flood(lambda _: ("POST", "/tasks", {"name": "hostile.nothing"}), threads=4, claims=True)


def bad_keys(attack: Attack) -> None:
    """Put keys of a wrong type, and malformed members, where the service and its scripts expect others."""
    with attack.target.redis() as client:
        client.zadd(KEYS.index_by_expiry, {"noseparator": 1, "a\0b": 1, "\xff" * 300: 2, "\0\0\0": 3})
        for owner in (None, HOSTILE, HONEST):
            for state in ("retrying", "canceling", "expired", "finished", "unknown"):
                client.set(KEYS.index_by_state(state, owner=owner), "a string", nx=True)
            if not client.exists(KEYS.index_by_name("hostile.bomb", owner=owner)):
                client.lpush(KEYS.index_by_name("hostile.bomb", owner=owner), "a list")
        client.hset(KEYS.task_types, mapping={"\xff\xfe": "\xff", "hostile.broken": "{", "hostile.null": "null"})
        client.hset(KEYS.consumers, mapping={"\xff": "\xff", "broken": "[]"})

    def request(turn: int) -> tuple[str, str, Any]:
        # Later, because other attacks write into these keys first.
        if turn % 100 == 99:
            with attack.target.redis() as client:
                client.mset(dict.fromkeys((KEYS.task_types, KEYS.consumers), "a string"))
        return "POST", "/tasks", {"name": ("hostile.nothing", "hostile.bomb")[turn % 2]}

    attack.flood(request, threads=2)


def garbage_records(attack: Attack) -> None:
    """Put garbage into records, some of it large, and read, list and cancel these tasks."""
    ids = attack.tasks(20)
    with attack.target.redis() as client:
        for number, task_id in enumerate(ids):
            client.hset(
                KEYS.record(task_id), mapping={"attempt": "abc", "seq": "x", "indexed_at": "zzz", "labels": "["}
            )
            if number < 2:
                for field in range(6):
                    client.hset(KEYS.record(task_id), f"large{number}{field}", "x" * 5_000_000)
            elif number < 4:
                for start in range(0, attack.target.flood, 1_000):
                    fields = dict.fromkeys((f"f{n}" for n in range(start, start + 1_000)), "1")
                    client.hset(KEYS.record(task_id), mapping=fields)

    def request(turn: int) -> tuple[str, str, Any]:
        task_id = ids[turn % len(ids)] if ids else "none"
        return [
            ("GET", f"/tasks/{task_id}", None),
            ("GET", "/tasks?limit=100", None),
            ("POST", f"/tasks/{task_id}/cancel", {}),
        ][turn % 3]

    attack.flood(request, threads=2)


def colliding_pickles(attack: Attack) -> None:
    """Read pickled results whose integer keys have one hash."""
    value = {"status": "SUCCESS", "result": {k * (2**61 - 1): 0 for k in range(2_000)}}
    head = pickle.dumps(value, protocol=4)
    # Many keys, without building the dict here: the opcodes of one entry, repeated.
    entries = b"".join(
        b"\x8a" + bytes([len(number)]) + number + b"K\x00"
        for k in range(1, 40_000)
        for number in [(k * (2**61 - 1)).to_bytes(10, "little").rstrip(b"\0") + b"\0"]
    )
    built = b"\x80\x04}(X\x06\x00\x00\x00statusX\x07\x00\x00\x00SUCCESSX\x06\x00\x00\x00result}(" + entries + b"uu."
    ids = attack.stored(attack.tasks(2), head) + attack.stored(attack.tasks(4), built)
    attack.flood(lambda turn: ("GET", f"/tasks/{ids[turn % len(ids)]}" if ids else "/tasks", None), threads=2)


def heartbeats(attack: Attack) -> None:
    """Store very many heartbeats."""

    def beat(turn: int) -> None:
        with attack.target.redis() as client:
            now = float(client.time()[0])
            members = {f"beat-{turn % 10}-{n}": now for n in range(attack.target.flood)}
            # Small commands, because no service can shorten those of others.
            for start in range(0, len(members), 500):
                client.zadd(KEYS.workers, dict(itertools.islice(members.items(), start, start + 500)))

    attack.until_stopped(beat, pause=0.5)


def published_hints(attack: Attack) -> None:
    """Publish changes of tasks that did not change."""
    client = attack.target.redis()

    def publish(turn: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for number in range(50):
            pipeline.publish(KEYS.record(f"{turn}-{number}"), "1")
            pipeline.publish(KEYS.record(attack.target.token_task), "1")
        pipeline.execute()

    attack.until_stopped(publish, pause=0.01)


def tokens(attack: Attack) -> None:
    """Read with one task token of the honest tenant."""
    path = f"/tasks/{attack.target.token_task}"
    attack.flood(lambda _: ("GET", path, None), threads=4, key=attack.target.token)


def expired_tokens(attack: Attack) -> None:
    """Read with an expired task token of the honest tenant."""
    path = f"/tasks/{attack.target.token_task}"
    attack.flood(lambda _: ("GET", path, None), threads=4, key=attack.target.expired_token)


def _held(attack: Attack, requests: list[bytes]) -> None:
    """Open many connections, send each its request, and keep them open."""
    held: list[socket.socket] = []
    try:
        for request in itertools.cycle(requests):
            if attack.stopped.wait(attack.seconds_until_next()):
                return
            if len(held) >= 700:
                attack.stopped.wait(0.5)
                held.pop(0).close()
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", urlsplit(attack.target.url).port), timeout=5)
                connection.sendall(request)
                held.append(connection)
                attack.count += 1
    finally:
        for connection in held:
            connection.close()


def streams(attack: Attack) -> None:
    """Open streams and waits, with the token of the honest tenant and with a key."""
    path = f"/tasks/{attack.target.token_task}"
    _held(
        attack,
        [
            f"GET {path}/events?access_token={attack.target.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            f"GET {path}?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {attack.target.key}\r\n\r\n".encode(),
        ],
    )


def connections(attack: Attack) -> None:
    """Open connections that send nothing, or the beginning of a request."""
    _held(attack, [b"", b"GET / HT", b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 99"])


def slow_bodies(attack: Attack) -> None:
    """Send the head of a submission, and its body never."""
    head = f"POST /tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {attack.target.key}\r\n"
    body = "Content-Type: application/json\r\nContent-Length: 500000\r\n\r\n{"
    _held(attack, [f"{head}{body}".encode()])


def readiness(attack: Attack) -> None:
    """Ask whether the service is ready, without a key."""
    attack.flood(lambda _: ("GET", "/readyz", None), threads=16, key="")


def guessed_keys(attack: Attack) -> None:
    """Guess keys and tokens."""
    attack.flood(lambda _: ("GET", "/tasks", None), threads=4, key="tsk_0123456789ab_" + "x" * 43)


def malformed_requests(attack: Attack) -> None:
    """Send malformed HTTP."""
    requests = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\nzzzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"\r\n" * 1_000,
    ]
    attack.until_stopped(lambda turn: attack.raw(requests[turn % len(requests)]), threads=2)


def odd_requests(attack: Attack) -> None:
    """Send valid HTTP with odd paths, queries and bodies."""
    paths = [
        *("/tasks?limit=٣", "/tasks?limit=1_0", "/tasks?limit=1&limit=5", "//evil.example/tasks", "/tasks//a/events"),
        *("/tasks/%2e%2e/%00", "/tasks?cursor=" + "A" * 4_000, "/tasks?" + "id=a&" * 1_000, "/openapi.json", "/docs"),
        "/tasks?label=" + "a" * 200 + ":" + "b" * 4_000,
    ]
    paths = [path.encode().decode("latin-1") if not path.isascii() else path for path in paths]
    deep: Any = []
    for _ in range(400):
        deep = [deep]

    def request(turn: int) -> tuple[str, str, Any]:
        if turn % 4 == 0:
            return "POST", "/tasks", {"name": "hostile.nothing", "args": deep}
        return "GET", paths[turn % len(paths)], None

    attack.flood(request, threads=2)


def cancels(attack: Attack) -> None:
    """Cancel and terminate many tasks, which tells every worker."""
    ids = attack.tasks(50, countdown=3600)

    def request(turn: int) -> tuple[str, str, Any]:
        return "POST", f"/tasks/{ids[turn % len(ids)] if ids else 'none'}/cancel", {"terminate": True}

    attack.flood(request, threads=4)


#: all attacks, by the name in the report
ATTACKS: Final[dict[str, Callable[[Attack], None]]] = {
    run.__name__.replace("_", " "): run
    for run in (
        *(
            queue_names,
            page_of_bombs,
            results_of_many_values,
            lists_by_label,
            hostile_schemas,
            many_task_types,
            many_consumers,
        ),
        *(huge_arguments, idempotency_keys, bad_keys, garbage_records, colliding_pickles, heartbeats, published_hints),
        *(tokens, expired_tokens, streams, connections, slow_bodies, readiness, guessed_keys, malformed_requests),
        *(odd_requests, cancels),
    )
}


def undo(client: Any) -> None:
    """Remove what the attacks have left in Redis, so that the next attack is measured alone."""
    keys = list(client.scan_iter(count=5_000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        ask = pipeline.strlen if b":call:" in key else pipeline.hlen if b":record:" in key else pipeline.type
        ask(key)
    for key, found in zip(keys, pipeline.execute(raise_on_error=False), strict=True):
        if key == KEYS.workers.encode() and found == b"zset":
            _remove(client.zrem, key, [m for m, _ in client.zscan_iter(key, "beat-*", count=5_000)])
            _remove(client.zrem, key, [m for m, _ in client.zscan_iter(key, "hostile-*", count=5_000)])
        elif key in (KEYS.consumers.encode(), KEYS.task_types.encode()) and found == b"hash":
            kept = (b"hostile.nothing", b"hostile.bomb")
            for pattern in ("hostile*", "broken", "\xff*"):
                _remove(client.hdel, key, [m for m, _ in client.hscan_iter(key, pattern, count=5_000) if m not in kept])
        elif (
            key == b"hostile"
            or (b":index:" in key and found != b"zset")
            or (isinstance(found, int) and found > (100_000 if b":call:" in key else 100))
        ):
            client.unlink(key)


def _remove(remove: Callable[..., object], key: bytes, members: list[bytes]) -> None:
    for start in range(0, len(members), 5_000):
        remove(key, *members[start : start + 5_000])


def main() -> None:
    """Run the attacks that the command line names, until the process is terminated."""
    os.nice(10)
    target_file, counts_file, rate, *names = sys.argv[1:]
    target = msgspec.json.decode(Path(target_file).read_bytes(), type=Target)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    attacks = {name: Attack(target, stopped, rate=float(rate)) for name in names}
    for name, attack in attacks.items():
        threading.Thread(target=ATTACKS[name], args=(attack,), daemon=True).start()
        # One after another: a preparation acts faster than the rate.
        latest = time.monotonic() + _PREPARED_SECONDS
        while not (attack.count or time.monotonic() > latest or stopped.wait(0.05)):
            pass
    counts = Path(counts_file)
    while not stopped.wait(0.1):
        counts.with_suffix(".new").write_bytes(
            msgspec.json.encode({name: attack.count for name, attack in attacks.items()})
        )
        counts.with_suffix(".new").replace(counts)


if __name__ == "__main__":
    main()
