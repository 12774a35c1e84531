"""The service reports lost data: lost tasks return 404, never `queued`."""

from collections.abc import Callable
from typing import Final

import pytest
from support.servers import RedisServer, wait_until

from faults.checker import explain
from faults.client import Client
from faults.history import Answer
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE

TASKS: Final = 20
NOTICED_SECONDS: Final = 5.0
#: seconds within which workers announce their task types again
ANNOUNCED_SECONDS: Final = 65.0


def _empty(nemesis: Nemesis, redis: RedisServer) -> None:
    nemesis.redis_forgets(redis)


def _restart_empty(nemesis: Nemesis, redis: RedisServer) -> None:
    with nemesis.redis_down(redis):
        redis.forget()


LOSSES: Final[dict[str, Callable[[Nemesis, RedisServer], None]]] = {
    "emptied": _empty,
    "restarted without its data": _restart_empty,
}


@pytest.mark.parametrize("how", LOSSES)
def test_lost_data_is_reported(how: str, site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """Ended and queued tasks return 404 after a loss; a task that was running is known again when it ends."""
    gate = site.gate()
    with site.worker("one", "--concurrency", "1"):
        done = [client.submit("faults.work", 0.0).accepted.id for _ in range(TASKS)]
        site.wait_until_ended(client, seconds=60)
        (running,) = held = [client.submit("faults.hold", str(gate)).accepted.id]
        site.wait_for_actions("started", held)
        waiting = [client.submit("faults.hold", str(gate)).accepted.id for _ in range(TASKS)]
        before = client.ready()

        LOSSES[how](nemesis, site.redis)
        after: Answer = wait_until(lambda: _reported(client, before), timeout=NOTICED_SECONDS, what="a warning")
        read = {client.read(task_id).status for task_id in done + waiting}
        missing = client.read_many(done + waiting).missing
        gate.touch()
        if SIZE.is_patient:
            again: Answer = wait_until(
                lambda: (answer := client.submit("faults.work", 0.0)).accepted and answer,
                timeout=ANNOUNCED_SECONDS,
                what="an accepted submission",
            )
            count(f"Redis {how}: a task is accepted again after", f"{again.ended - nemesis.last_fault_at:.1f} s")
            wait_until(lambda: client.read(again.accepted.id).seen[0].state == "succeeded", what="a task that succeeds")
        wait_until(lambda: client.read(running).seen, what="the end of the running task")
        ended = client.read(running)
    violations = site.violations(promised(data_was_lost=True))
    count(f"Redis {how}: lost tasks that return 404", len(missing), 2 * TASKS)
    count("- reported by /readyz after", f"{after.ended - nemesis.last_fault_at:.1f} s", "≤ 5 s")
    assert not violations, explain(violations)
    assert read == {404}
    assert len(missing) == 2 * TASKS
    # Its end was recorded after the loss.
    assert [status.state for status in ended.seen] == ["succeeded"]


def _reported(client: Client, before: Answer) -> Answer | None:
    """Return the answer of /readyz if it warns of lost data and has a new epoch; otherwise None."""
    answer = client.ready()
    has_warning = any("lost its data" in warning for warning in answer.warnings)
    return answer if has_warning and answer.epoch != before.epoch else None
