"""`examples/`, run unchanged as separate processes, with the real service with keys and a real worker."""

import contextlib
import difflib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from acceptance.conftest import Service
from support.expiry import expire_now
from support.keys import add_key, bearer
from support.servers import (
    RedisServer,
    free_port,
    running,
    running_redis,
    running_service,
    running_worker,
    server_process,
    wait_until,
)
from task_status_service.status import MAX_INLINE_SIZE
from task_status_worker.record.keys import Keys

from clients.counting_proxy import Exchange, counting_proxy

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOP = EXAMPLES / "existing_celery_app"


class Site(NamedTuple):
    """A service with keys, its Redis, and one of the keys."""

    redis: RedisServer
    environ: dict[str, str]
    url: str
    key: str

    def get(self, path: str, **query: Any) -> Any:
        """Read a path with the key."""
        response = requests.get(f"{self.url}{path}", params=query, headers=bearer(self.key), timeout=70)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any) -> Any:
        """Send a body to a path with the key."""
        response = requests.post(f"{self.url}{path}", json=body, headers=bearer(self.key), timeout=70)
        assert response.ok, response.text
        return response.json()

    def tasks(self, name: str) -> list[Any]:
        """Return the tasks of this name."""
        return list(self.get("/tasks", name=name)["items"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run Redis, a worker with the demo tasks, and the service with a key; no worker consumes shop.pay."""
    folder = tmp_path_factory.mktemp("examples")
    keys = folder / "keys.json"
    key = add_key(keys, "examples")
    with running_redis(folder) as redis:
        environ = {
            "TASK_STATUS_REDIS_URL": redis.url,
            "TASK_STATUS_API_KEYS_FILE": str(keys),
            "TASK_STATUS_TASKS": "demo.*,shop.pay",
        }
        with (
            running_worker("task_status_worker.demo", "--concurrency", "2", redis_url=redis.url, folder=folder),
            running_service(environ, folder=folder) as url,
        ):
            site = Site(redis, environ, url, key)
            wait_until(lambda: site.get("/task-types/demo.add")["workers"], what="the worker")
            yield site


def start_python_service(url: str, key: str, *arguments: str, wait_seconds: int | None = None) -> subprocess.Popen[str]:
    """Start the example; `wait_seconds` replaces its WAIT_SECONDS."""
    command = [str(EXAMPLES / "python_service.py")]
    if wait_seconds is not None:
        command = ["-c", f"import python_service; python_service.WAIT_SECONDS = {wait_seconds}; python_service.main()"]
    environ = {**os.environ, "TASK_STATUS_URL": url, "TASK_STATUS_API_KEY": key, "PYTHONPATH": str(EXAMPLES)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command, *arguments], env=environ, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Wait for the end of the example; return its exit code, its lines and its errors."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), err


def run_python_service(url: str, key: str, *arguments: str, **options: int) -> tuple[int, list[str], str]:
    """Run the example; return its exit code, its lines and its errors."""
    return ended(start_python_service(url, key, *arguments, **options))


def assert_waits_and_etags(exchanges: Sequence[Exchange]) -> None:
    """Check that each request waited for Retry-After, and sent the last ETag."""
    assert exchanges
    for before, after in pairwise(exchanges):
        assert after.requested_at - before.responded_at >= before.retry_after, (before, after)
    etag = None
    for exchange in exchanges:
        if etag is not None:
            assert exchange.if_none_match == etag
        etag = exchange.etag or etag


def test_python_service_follows_a_task(site: Site) -> None:
    """The example prints the progress of a task and then its result."""
    code, lines, err = run_python_service(site.url, site.key)

    assert (code, err, lines[-1]) == (0, "", "succeeded: 30")
    assert any(" running " in line and line.endswith(" %") for line in lines)
    assert " queued" in lines[0]
    assert " succeeded" in lines[-2]


@pytest.mark.parametrize(
    ("name", "kwargs", "outcome"),
    [
        ("demo.fail", {"message": "boom"}, "failed: ValueError: boom"),
        (
            "demo.fail_with_details",
            {"message": "too much", "details": {"field": "amount"}},
            "failed: TaskFailed: too much {'code': 'demo', 'field': 'amount'}",
        ),
        ("demo.ignore", {}, "finished"),
    ],
)
def test_a_failed_task_is_not_an_error_of_the_example(
    site: Site, name: str, kwargs: dict[str, Any], outcome: str
) -> None:
    """The example prints the outcome of a failed or ignored task, and exits with 0."""
    code, lines, err = run_python_service(site.url, site.key, name, json.dumps(kwargs))

    assert (code, err, lines[-1]) == (0, "", outcome)


def test_invalid_arguments(site: Site) -> None:
    """The example prints the pointer of each fault, and does not retry."""
    with counting_proxy(site.url) as proxy:
        code, lines, err = run_python_service(proxy.url, site.key, "demo.add", '{"x": "two"}')

    assert (code, lines) == (1, [])
    assert err.startswith("InvalidRequest: ")
    assert "#/kwargs/x: " in err
    assert [exchange.status for exchange in proxy.exchanges] == [422]


def test_invalid_key(site: Site) -> None:
    """The example does not retry with an invalid key."""
    code, _, err = run_python_service(site.url, "tsk_0_0")

    assert (code, err.startswith("RequestFailed: Unauthorized")) == (1, True)


@pytest.mark.parametrize(("is_known", "error"), [(True, "TaskExpired: "), (False, "TaskNotFound: ")])
def test_expired_and_unknown_tasks(site: Site, is_known: bool, error: str) -> None:
    """The example distinguishes a task that expired while it was followed from an unknown one."""
    process = start_python_service(site.url, site.key, "shop.pay", "{}", wait_seconds=1)
    assert process.stdout
    task_id = process.stdout.readline().split()[0]
    with site.redis.client() as client:
        if is_known:
            expire_now(client, Keys(), task_id)
        else:
            client.delete(Keys().record(task_id))
    code, _, err = ended(process)

    assert (code, err.startswith(error)) == (1, True), err


def test_a_large_result(site: Site) -> None:
    """The example reads a result that is too large for the status with a separate request."""
    process = start_python_service(site.url, site.key, "shop.pay", "{}", wait_seconds=1)
    assert process.stdout
    task_id = process.stdout.readline().split()[0]
    result = "x" * (MAX_INLINE_SIZE + 1)
    with site.redis.client() as client:
        client.set(Keys().meta(task_id), json.dumps({"status": "SUCCESS", "result": result, "task_id": task_id}))
    code, lines, err = ended(process)

    assert (code, err, lines[-1] == f'succeeded: "{result}"') == (0, "", True)


def test_polls_with_etags(site: Site) -> None:
    """The example waits for Retry-After, sends the last ETag, and gets 304 while nothing changes."""
    with counting_proxy(site.url) as proxy:
        code, lines, err = run_python_service(proxy.url, site.key, "demo.sleep", '{"seconds": 7}', wait_seconds=1)

    assert (code, err, lines[-1]) == (0, "", "succeeded: 7")
    assert_waits_and_etags(proxy.exchanges)
    (submission, *reads) = proxy.exchanges
    assert (submission.method, submission.status) == ("POST", 202)
    statuses = [exchange.status for exchange in reads]
    assert statuses.count(304) >= 2
    # Each read takes 2 s, a pause and a wait: 4 in 7 s, and one more for each change.
    assert len(statuses) <= 7, statuses
    assert all("wait=1" in exchange.path for exchange in reads)


def test_one_read_waits_for_the_end(site: Site) -> None:
    """With its default wait, the example needs few requests: one read lasts until the task is done."""
    with counting_proxy(site.url) as proxy:
        code, _, err = run_python_service(proxy.url, site.key, "demo.sleep", '{"seconds": 9}')

    assert (code, err) == (0, "")
    assert_waits_and_etags(proxy.exchanges)
    assert len(proxy.exchanges) <= 4, proxy.exchanges


def test_a_busy_service(site: Site, tmp_path: Path) -> None:
    """After a 429 the example waits for Retry-After, then submits the task once."""
    limited = site.environ | {"TASK_STATUS_REQUESTS_PER_SECOND": "1"}
    with running_service(limited, folder=tmp_path) as url:

        def is_used_up() -> bool:
            return requests.get(f"{url}/tasks", headers=bearer(site.key), timeout=10).status_code == 429

        def use_up() -> None:
            wait_until(is_used_up, pause=0, what="the rate limit to be reached")

        # When the first request arrives: a process may take longer to start than the second of the limit.
        with counting_proxy(url, before_first=use_up) as proxy:
            code, lines, err = run_python_service(proxy.url, site.key, "demo.add", '{"x": 2, "y": 3}')

    assert (code, err, lines[-1]) == (0, "", "succeeded: 5")
    statuses = [exchange.status for exchange in proxy.exchanges]
    assert statuses[0] == 429
    assert statuses.count(202) == 1
    assert_waits_and_etags(proxy.exchanges)


def test_retries_while_the_service_or_redis_is_down(tmp_path: Path) -> None:
    """The example survives a killed service and a stopped Redis, and each idempotency key creates one task."""
    keys = tmp_path / "keys.json"
    key = add_key(keys, "examples")
    port = free_port()
    with running_redis(tmp_path, durable=True) as redis, contextlib.ExitStack() as stack:
        environ = {"TASK_STATUS_REDIS_URL": redis.url, "TASK_STATUS_API_KEYS_FILE": str(keys)}
        stack.enter_context(running_worker("task_status_worker.demo", redis_url=redis.url, folder=tmp_path))
        site = Site(redis, environ, f"http://127.0.0.1:{port}", key)
        first_arguments = ("demo.count", '{"total": 50}', "--key", "order-1")
        with server_process(environ, folder=tmp_path, port=port) as server:
            wait_until(lambda: site.get("/task-types/demo.count")["workers"], what="the worker")
            polling = start_python_service(site.url, key, *first_arguments)
            assert polling.stdout
            wait_until(lambda: polling.stdout and " running " in polling.stdout.readline(), what="the task to run")
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
            submitting = start_python_service(site.url, key, "demo.add", '{"x": 1, "y": 2}', "--key", "order-2")
        with server_process(environ, folder=tmp_path, port=port):
            code, lines, err = ended(polling)
            assert (code, err, lines[-1]) == (0, "", "succeeded: 50")
            code, lines, err = ended(submitting)
            assert (code, err, lines[-1]) == (0, "", "succeeded: 3")

            redis.stop()
            with counting_proxy(site.url) as proxy:
                waiting = start_python_service(proxy.url, key, *first_arguments)
                wait_until(lambda: [e for e in proxy.exchanges if e.status == 503], what="a 503")
                redis.start()
                code, lines, err = ended(waiting)
                # The idempotency key returns the same task, which is already done.
                assert (code, err, lines[-1]) == (0, "", "succeeded: 50")
                assert_waits_and_etags(proxy.exchanges)
            assert len(site.tasks("demo.count")) == len(site.tasks("demo.add")) == 1


class Shop(NamedTuple):
    """The folder of the shop's app, with a running worker, Redis and service."""

    folder: Path
    redis: RedisServer
    service: Service

    def state_read_by_celery(self, task_id: str) -> str:
        """Return the state that Celery's AsyncResult reads, or the name of its exception."""
        code = (
            "import sys\n"
            "from shop.celery import app\n"
            "try:\n    print(app.AsyncResult(sys.argv[1]).state)\n"
            "except Exception as error:\n    print(type(error).__name__)"
        )
        environ = {**os.environ, "SHOP_REDIS_URL": self.redis.url}
        command = [sys.executable, "-c", code, task_id]
        return subprocess.run(
            command, cwd=self.folder, env=environ, check=True, capture_output=True, text=True
        ).stdout.strip()


def shop_without_kit(folder: Path) -> Path:
    """Copy the shop without the lines that install the kit; return the folder."""
    shutil.copytree(SHOP / "shop", folder / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "shop" / "celery.py"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "task_status_worker" not in line))
    return folder


@contextlib.contextmanager
def running_shop(folder: Path, tmp_path: Path, environ: dict[str, str]) -> Iterator[Shop]:
    """Run the shop's worker, with the command of the example's README, and the service."""
    with running_redis(tmp_path) as redis:
        log = tmp_path / "shop.log"
        command = [sys.executable, "-m", "celery", "--workdir", str(folder), "-A", "shop", "worker"]
        environ = {"TASK_STATUS_REDIS_URL": redis.url, "TASK_STATUS_DEFAULT_QUEUE": "shop", **environ}
        with (
            running([*command, "--loglevel", "INFO"], environ={"SHOP_REDIS_URL": redis.url}, log=log),
            running_service(environ, folder=tmp_path) as url,
        ):
            wait_until(lambda: "ready." in log.read_text(), timeout=30, what="the shop's worker")
            service = Service(url)
            yield Shop(folder, redis, service)
            service.session.close()


def assert_statuses(shop: Shop) -> None:
    """Check results, progress, a retry and a failure of the shop's tasks, with or without the kit."""
    service = shop.service
    assert service.run("shop.tasks.add_up", prices=[10, 2.5], discount=0.5)["result"] == 6.25

    statuses = service.follow(service.submit("shop.tasks.make_report", month="2026-07", rows=10))
    reported = [status["progress"] for status in statuses if status["celery_state"] == "PROGRESS"]
    assert any(progress["percent"] == progress["current"] * 10 for progress in reported), reported
    assert any(progress["message"] == f"row {progress['current']} of 10" for progress in reported), reported
    assert statuses[-1]["result"] == {"month": "2026-07", "url": "/reports/2026-07.pdf"}

    statuses = service.follow(service.submit("shop.tasks.charge", order_id=7, cents=995))
    retrying = next(status for status in statuses if status["state"] == "retrying")
    assert retrying["failure"]["message"] == "no answer for order 7"
    assert (statuses[-1]["state"], statuses[-1]["result"]["cents"]) == ("succeeded", 995)

    task = service.run("shop.tasks.import_prices", lines=["pen=1.20", "ink=cheap"])
    assert (task["state"], task["failure"]["details"]) == ("failed", {"custom": "line 2: 'cheap' is not a price"})


def test_the_shop_without_the_kit(tmp_path: Path) -> None:
    """The service reads the values that Celery stores, also a failure that Celery's own reader cannot read."""
    folder = shop_without_kit(tmp_path / "before")
    with running_shop(folder, tmp_path, {"TASK_STATUS_TASKS": "shop.tasks.*"}) as shop:
        assert_statuses(shop)

        failed = shop.service.run("shop.tasks.import_prices", lines=["ink=cheap"])
        assert (failed["executions"], failed["worker"], failed["started_at"]) == (0, None, None)
        assert shop.state_read_by_celery(failed["id"]) == "ValueError"


def test_the_shop_with_the_kit(tmp_path: Path) -> None:
    """With the kit, task types are announced, workers and times are recorded, and a cancel takes effect."""
    with running_shop(SHOP, tmp_path, {}) as shop:
        service = shop.service

        def announced() -> set[str]:
            items = service.session.get(f"{service.url}/task-types", timeout=10).json()["items"]
            return {item["name"] for item in items}

        names = {f"shop.tasks.{name}" for name in ("add_up", "make_report", "charge", "import_prices")}
        wait_until(lambda: announced() == names, what="the task types")
        assert_statuses(shop)

        failed = service.run("shop.tasks.import_prices", lines=["ink=cheap"])
        assert (failed["executions"], failed["worker"] is None, failed["started_at"] is None) == (1, False, False)
        assert shop.state_read_by_celery(failed["id"]) == "FAILURE"

        rejected = service.post("shop.tasks.add_up", kwargs={"prices": "many"})
        assert (rejected.status_code, rejected.json()["errors"][0]["pointer"]) == (422, "#/kwargs/prices")

        task_id = service.submit("shop.tasks.make_report", month="2026-07", rows=10_000)
        service.wait(task_id, lambda task: task["progress"])
        canceled = service.session.post(f"{service.url}/tasks/{task_id}/cancel", json={"terminate": True}, timeout=10)
        assert canceled.json()["state"] == "canceling"
        assert service.wait(task_id)["state"] == "canceled"


def test_two_lines_install_the_kit(tmp_path: Path) -> None:
    """Without the two added lines the app does not import the kit, and has the same tasks."""
    before = shop_without_kit(tmp_path)
    changed = []
    for path in sorted((SHOP / "shop").glob("*.py")):
        old = (before / "shop" / path.name).read_text().splitlines()
        diff = difflib.ndiff(old, path.read_text().splitlines())
        changed += [(path.name, line) for line in diff if not line.startswith("  ")]
    assert changed == [
        ("celery.py", "+ import task_status_worker"),
        ("celery.py", "+ task_status_worker.install(app)"),
    ]
    # The README shows the same lines.
    shown = [line for line in (SHOP / "README.md").read_text().splitlines() if line.startswith("+")]
    assert shown == ["+import task_status_worker", "+task_status_worker.install(app)"]

    code = (
        "import sys\nfrom shop.celery import app\napp.loader.import_default_modules()\n"
        "print('task_status_worker' in sys.modules, *sorted(n for n in app.tasks if n.startswith('shop.')))"
    )

    def modules_and_tasks(folder: Path) -> list[str]:
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.split()

    (with_kit, *tasks), (with_kit_before, *tasks_before) = modules_and_tasks(SHOP), modules_and_tasks(before)
    assert (with_kit, with_kit_before) == ("True", "False")
    assert tasks == tasks_before
    assert len(tasks) == 4
