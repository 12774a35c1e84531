"""A Redis with a replica and sentinels, for tests. Each process has its own port, and is stopped by its pid."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import redis
from task_status_service.dev.redis_server import find_redis_server

from support.servers import RedisServer, free_port, running, wait_until

HOST = "127.0.0.1"
NAME = "main"

_SENTINEL_CONF = """\
port {port}
bind {host}
dir {folder}
sentinel monitor {name} {host} {master} {quorum}
sentinel down-after-milliseconds {name} 2000
sentinel failover-timeout {name} 10000
sentinel parallel-syncs {name} 1
"""


class Sentinels(NamedTuple):
    """Running sentinels that watch one master."""

    ports: tuple[int, ...]
    processes: tuple[subprocess.Popen[bytes], ...]
    name: str = NAME

    def url(self, user: str = "", password: str = "") -> str:
        """Return the URL in Celery's format; the credentials are those of the master."""
        credentials = f"{user}:{password}@" if password else ""
        return ";".join(f"sentinel://{credentials}{HOST}:{port}/0" for port in self.ports)

    def master_port(self) -> int:
        """Return the port of the present master, according to the first sentinel."""
        return int(self._ask(self.ports[0], "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def fail_over(self) -> None:
        """Start a planned failover: ask until a sentinel agrees, and return before its end."""
        wait_until(self._agree, timeout=30, pause=0.2, what="a sentinel that starts the failover")

    def know_all(self, *, replicas: int) -> bool:
        """Return whether each sentinel knows all others and this number of connected replicas."""
        return all(self._knows_all(port, replicas) for port in self.ports)

    def _agree(self) -> bool:
        # NOGOODSLAVE until the replica is known to be healthy, INPROG during another failover.
        with contextlib.suppress(redis.ResponseError):
            return bool(self._ask(self.ports[0], "FAILOVER", self.name))
        return False

    def _knows_all(self, port: int, replicas: int) -> bool:
        others = self._ask(port, "SENTINELS", self.name)
        known = [_fields(replica) for replica in self._ask(port, "REPLICAS", self.name)]
        connected = [replica for replica in known if replica["master-link-status"] == "ok"]
        return len(others) == len(self.ports) - 1 and len(connected) == replicas

    def _ask(self, port: int, *command: str) -> list:
        with redis.Redis(host=HOST, port=port, decode_responses=True) as client:
            # A connection's own method: the client would parse the answer of each subcommand in another way.
            connection = client.connection_pool.get_connection()
            connection.send_command("SENTINEL", *command)
            return connection.read_response()


def _fields(flat: list[str] | dict[str, str]) -> dict[str, str]:
    """Return a flat list of names and values as a dictionary; RESP3 sends it as one."""
    return dict(flat) if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


@contextlib.contextmanager
def running_replica(
    master: RedisServer, folder: Path, *, user: str = "", password: str = "", durable: bool = False
) -> Iterator[RedisServer]:
    """Run a replica of a Redis within a `with` block, which begins when it has copied the data."""
    folder.mkdir(parents=True, exist_ok=True)
    replica = RedisServer(folder, durable=durable, users=master.users, admin=master.admin)
    replica.start()
    try:
        for server, other in ((replica, master), (master, replica)):
            with server.client() as client:
                # The master too: it is a replica after a failover.
                client.config_set("masteruser", user)
                client.config_set("masterauth", password)
                if other is master:
                    client.replicaof(HOST, str(master.port))
        wait_until(lambda: _is_in_step(replica), what="the replica to copy the data")
        yield replica
    finally:
        replica.stop()


def _is_in_step(replica: RedisServer) -> bool:
    with replica.client() as client:
        return client.info("replication")["master_link_status"] == "up"


@contextlib.contextmanager
def start_sentinels(
    master: RedisServer, folder: Path, *, count: int = 3, replicas: int = 1, user: str = "", password: str = ""
) -> Iterator[Sentinels]:
    """Run sentinels within a `with` block, which begins when they know each other and all replicas."""
    with contextlib.ExitStack() as stack:
        ports, processes = [], []
        for number in range(count):
            port, home = free_port(), folder / f"sentinel-{number}"
            home.mkdir(parents=True)
            conf = _SENTINEL_CONF.format(
                host=HOST, port=port, folder=home, name=NAME, master=master.port, quorum=count // 2 + 1
            )
            if password:
                conf += f"sentinel auth-user {NAME} {user}\nsentinel auth-pass {NAME} {password}\n"
            (home / "sentinel.conf").write_text(conf)
            command = [str(find_redis_server()), str(home / "sentinel.conf"), "--sentinel"]
            processes.append(stack.enter_context(running(command, environ={}, log=home / "sentinel.log")))
            ports.append(port)
        sentinels = Sentinels(tuple(ports), tuple(processes))
        wait_until(lambda: _know_all(sentinels, replicas), timeout=60, pause=0.2, what="the sentinels")
        yield sentinels


def _know_all(sentinels: Sentinels, replicas: int) -> bool:
    with contextlib.suppress(redis.RedisError):
        return sentinels.know_all(replicas=replicas)
    return False
