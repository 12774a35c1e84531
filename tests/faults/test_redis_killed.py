"""Redis is killed and restarted under load: accepted tasks are kept and run, and their statuses are correct."""

from faults.checker import explain
from faults.client import Client
from faults.load import Call, Load
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE


def _mixed(number: int) -> Call:
    if number % 10 == 3:
        return "faults.fail", ()
    if number % 10 == 7:
        return "faults.flaky", ()
    return "faults.work", (0.02,)


def test_nothing_accepted_is_lost(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """With `appendfsync always` and constant load, no accepted task is lost."""
    load = Load(site.connect, _mixed, per_second=SIZE.submissions_per_second)
    # Redis redelivers the messages of a disconnected worker after this time.
    environ = {"FAULTS_VISIBILITY_SECONDS": "10"}
    with site.supervised_worker("one", "--concurrency", "4", environ=environ) as ended:
        with load.running(submitters=8, followers=2):
            for _ in range(SIZE.redis_kills):
                nemesis.sleep(1, 4)
                with nemesis.redis_down(site.redis):
                    nemesis.sleep(0, 1)
            nemesis.sleep(1, 2)
        left = site.wait_until_ended(client, seconds=90)
        count("Redis killed and started again under load", SIZE.redis_kills, SIZE.redis_kills)
        count("- workers that exited because of it and were restarted", ended())
    violations = site.violations(promised(runs_once=False))
    count("- tasks accepted during the test", f"{len(load.accepted):,}")
    count("- of these lost: not found, or without an end 90 s later", len(left), 0)
    count("- broken promises", len(violations), 0)
    assert not violations, explain(violations)
    assert load.accepted
