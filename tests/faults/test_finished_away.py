"""Tasks that finish during an outage of Redis are `succeeded` after it."""

import pytest

from faults.checker import explain
from faults.client import Client
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site
from faults.size import SIZE

#: by pool: number of concurrent tasks
_AT_ONCE = {"prefork": 10, "threads": 50}


@pytest.mark.parametrize("pool", _AT_ONCE)
def test_all_succeed(pool: str, site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """Tasks that start before and finish during an outage all succeed."""
    total = SIZE.finished_away // len(_AT_ONCE)
    at_once = min(total, _AT_ONCE[pool])
    task_ids: list[str] = []
    with site.worker("one", "--pool", pool, "--concurrency", str(at_once)):
        for _ in range(total // at_once):
            gate = site.gate()
            batch = [client.submit("faults.hold", str(gate)).accepted.id for _ in range(at_once)]
            site.wait_for_actions("started", batch)
            with nemesis.redis_down(site.redis):
                gate.touch()
                site.wait_for_actions("finished", batch)
                nemesis.sleep(1, 3)
            task_ids += batch
        site.wait_until_ended(client, seconds=60)
        succeeded = [status for task_id in task_ids for status in client.read(task_id).seen if status.successful]
    violations = site.violations()
    count(f"tasks that finished while Redis was unreachable and are `succeeded`, {pool} pool", len(succeeded), total)
    assert not violations, explain(violations)
    assert len(succeeded) == total
