"""`make bench`: measure every server in rounds; write the medians to docs/performance.md."""

import argparse
import contextlib
import os
import resource
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

import redis

from bench import memory, pages
from bench.load import Measured, measure
from bench.processes import running_redis, running_server

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"

_INSTALL: Final = {
    "wrk": "wrk is missing. On Debian and Ubuntu: apt-get install wrk; on others see https://github.com/wg/wrk",
    "taskset": "taskset is missing. On Debian and Ubuntu: apt-get install util-linux",
}


def main() -> None:
    """Run the benchmark. The defaults take eight minutes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=1, help="seconds per server and round")
    parser.add_argument("--only", nargs="*", help="names of servers to measure; docs/performance.md is not written")
    options = parser.parse_args()
    missing = [hint for tool, hint in _INSTALL.items() if shutil.which(tool) is None]
    if len(os.sched_getaffinity(0)) < 2:  # noqa: PLR2004  # one for the server, one for the load
        missing.append("The benchmark needs two cores: one for the server, one for the load.")
    if missing:
        sys.exit("\n".join(missing))
    # Thousands of connections, in this process and in the server.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as name, running_redis(Path(name)) as url:
        os.environ["BENCH_REDIS_URL"] = url
        _measure(url, Path(name), only=options.only, count=options.rounds, seconds=options.seconds)


def _measure(url: str, folder: Path, *, only: list[str] | None, count: int, seconds: int) -> None:
    # These imports make the Celery app, which reads BENCH_REDIS_URL.
    from bench import report, streams  # noqa: PLC0415

    rounds = _race(url, folder, only=only, count=count, seconds=seconds)
    if only:
        for name, found in rounds.items():
            print(name, *(f"{one.requests_per_second:,.0f}/s p50={one.p50_ms} p99={one.p99_ms}" for one in found))
        return
    watched = streams.measure_streams(url, folder)
    listed = pages.measure_pages(url, folder, rounds=count, seconds=seconds)
    with redis.Redis.from_url(url) as client:
        version = client.info("server")["redis_version"]
    found = report.Findings(rounds, listed, watched, memory.measure_memory())
    report.write(PAGE, found, seconds=seconds, redis_version=version)
    print(report.tables(found))


def _race(url: str, folder: Path, *, only: list[str] | None, count: int, seconds: int) -> dict[str, list[Measured]]:
    """Start all servers, then measure them in turn: noise of the machine affects all of them alike."""
    from bench.contenders import CONTENDERS, TASK_ID, arrange  # noqa: PLC0415  # see main

    arrange(url)
    chosen = {name: contender for name, contender in CONTENDERS.items() if not only or name in only}
    environ = {"TASK_STATUS_REDIS_URL": url, "FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_LOGGING": "error"}
    urls: dict[tuple[str, ...], str] = {}
    rounds: dict[str, list[Measured]] = {name: [] for name in chosen}
    with contextlib.ExitStack() as stack, redis.Redis.from_url(url) as client:

        def start(name: str, arguments: list[str]) -> str:
            if tuple(arguments) not in urls:
                server = running_server(name, arguments, environ=environ, folder=folder)
                urls[tuple(arguments)] = stack.enter_context(server).url
            return urls[tuple(arguments)]

        ours = start("get", CONTENDERS["get"].arguments)
        with urllib.request.urlopen(f"{ours}/tasks/{TASK_ID}", timeout=5) as answer:  # noqa: S310  # our own http:// URL
            environ["BENCH_BODY_BYTES"] = str(len(answer.read()))
            etag = f"If-None-Match: {answer.headers['ETag']}"
        addresses = {name: start(name, one.arguments) + one.path for name, one in chosen.items()}
        for _ in range(count + 1):
            for name, one in chosen.items():
                headers = (etag,) if one.with_etag else ()
                rounds[name].append(measure(addresses[name], seconds=seconds, headers=headers, script=one.script))
                # No worker consumes the messages; a million of them would slow the next server down.
                client.delete("celery")
    # The first round is a warm-up.
    return {name: found[1:] for name, found in rounds.items()}


if __name__ == "__main__":
    main()
