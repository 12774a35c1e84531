"""Settings are read from environment variables; an error names the variable."""

import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from support.reserved_queues import RESERVED
from task_status_service.access.client_address import TrustedProxies
from task_status_service.errors import SettingInvalid
from task_status_service.settings import PREFIX, VARIABLES, Settings, from_env
from task_status_service.status import TaskState
from task_status_service.use_cases.readiness import VolatileStore

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_defaults():
    """A missing or empty variable has its default value."""
    assert from_env({}) == from_env({"TASK_STATUS_TASKS": "", "PATH": "/bin"}) == Settings()


def test_one_redis_for_all():
    """`REDIS_URL` is the URL of broker, results and records, unless another variable sets one of them."""
    settings = from_env({"TASK_STATUS_REDIS_URL": "redis://a/1", "TASK_STATUS_BROKER_URL": "amqp://b"})

    assert (settings.broker_url, settings.result_url, settings.record_url) == ("amqp://b", "redis://a/1", "redis://a/1")


def test_every_kind_of_value():
    """Numbers, names, states and origins are parsed."""
    settings = from_env(
        {
            "TASK_STATUS_BIND": "[::1]:80",
            "TASK_STATUS_WORKERS": "3",
            "TASK_STATUS_TASKS": "shop.pay, reports.*",
            "TASK_STATUS_QUEUES": "reports, mail@eu",
            "TASK_STATUS_FINAL_STATES": "PARTIAL=succeeded, INVALID=failed",
            "TASK_STATUS_GLOBAL_KEYPREFIX": "app",
            "TASK_STATUS_RECORD_SECONDS": "3600",
            "TASK_STATUS_KNOWN_SECONDS": "0",
            "TASK_STATUS_LOST_FINAL_SECONDS": "60",
            "TASK_STATUS_VOLATILE_STORE": "refuse",
            "TASK_STATUS_TRACEBACKS": "no",
            "TASK_STATUS_TRUSTED_PROXIES": "10.0.0.0/8, unix",
            "TASK_STATUS_FAST_READ": "no",
            "TASK_STATUS_CORS_ORIGINS": "https://app.example.com, http://localhost:3000,https://[::1]:8443",
        }
    )

    assert (settings.bind, settings.workers, settings.global_keyprefix) == ("[::1]:80", 3, "app")
    assert settings.final_states == {"PARTIAL": TaskState.SUCCEEDED, "INVALID": TaskState.FAILED}
    assert [name in settings.tasks for name in ("shop.pay", "shop.refund", "reports.daily", "reports")] == [
        True,
        False,
        True,
        False,
    ]
    assert settings.queues == {"reports", "mail@eu"}
    assert (settings.lost_final_seconds, settings.volatile_store) == (60, VolatileStore.REFUSE)
    assert not settings.tracebacks
    assert not settings.fast_read
    assert settings.trusted_proxies == TrustedProxies((IPv4Network("10.0.0.0/8"),), unix=True)
    assert settings.cors_origins == {"https://app.example.com", "http://localhost:3000", "https://[::1]:8443"}
    assert (settings.retention.record_seconds, settings.retention.known_seconds) == (3600, 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", "http://a"),
        ("RESULT_URL", "amqp://a"),
        ("BIND", "8000"),
        ("BIND", "a b:80"),
        ("BIND", "a:0"),
        ("BIND", "a:65536"),
        ("WORKERS", "0"),
        ("WORKERS", "two"),
        ("WORKERS", "9" * 5_000),
        ("TRACEBACKS", "maybe"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "https://app.example.com,"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://a@app.example.com"),
        ("QUEUES", "a,,b"),
        ("QUEUES", "a b"),
        ("QUEUES", "*"),
        ("QUEUES", "mail,unacked"),
        ("TRUSTED_PROXIES", "proxy"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TASKS", "a,,b"),
        ("TASKS", "*"),
        ("TASKS", ".*"),
        ("TASKS", "a*"),
        ("FINAL_STATES", "PARTIAL"),
        ("FINAL_STATES", "PARTIAL=running"),
        ("RECORD_SECONDS", "-1"),
        ("LOST_FINAL_SECONDS", "59"),
        ("LOST_FINAL_SECONDS", "86400"),
        ("VOLATILE_STORE", "ignore"),
    ],
)
def test_errors_name_the_variable(name, text):
    """An invalid value raises an error that begins with the name of its variable."""
    with pytest.raises(SettingInvalid, match=f"^TASK_STATUS_{name}="):
        from_env({f"TASK_STATUS_{name}": text})


@pytest.mark.parametrize("name", ["QUEUES", "DEFAULT_QUEUE"])
@pytest.mark.parametrize("queue", RESERVED)
def test_a_queue_may_not_name_another_key(name, queue):
    """A queue of the settings may not have the name of a key of task-status, Celery or kombu."""
    with pytest.raises(SettingInvalid, match=f"^TASK_STATUS_{name}="):
        from_env({f"TASK_STATUS_{name}": queue})


def test_no_password_in_an_error():
    """An error does not quote a URL, which may contain a password."""
    with pytest.raises(SettingInvalid) as raised:
        from_env({"TASK_STATUS_REDIS_URL": "http://:s3cret@a"})

    assert "s3cret" not in str(raised.value)


def test_sentinel_needs_a_master():
    """A Sentinel URL requires `SENTINEL_MASTER`, because it does not name the master."""
    url = "sentinel://a:1;sentinel://b:2"
    with pytest.raises(SettingInvalid, match="SENTINEL_MASTER"):
        from_env({"TASK_STATUS_REDIS_URL": url})
    settings = from_env({"TASK_STATUS_REDIS_URL": url, "TASK_STATUS_SENTINEL_MASTER": "main"})
    assert (settings.record_url, settings.sentinel_master) == (url, "main")


def test_unknown_variables_are_rejected():
    """An unknown variable with the prefix raises an error that lists the known ones."""
    with pytest.raises(SettingInvalid, match=r"TASK_STATUS_REDIS is not a setting.*REDIS_URL"):
        from_env({"TASK_STATUS_REDIS": "redis://a"})


@pytest.mark.parametrize(
    "url",
    [
        *("redis://:kanarienvogel/x@h:1/0", "redis://:x@h:kanarienvogel/0", "redis://:kanarienvogel@h:99999"),
        *("redis://:kanarienvogel@[::1/0", "redis://:kanarienvogel@h\u2100/0", "http://:kanarienvogel@h"),
        "sentinel://:x@a:1;sentinel://:x@b:kanarienvogel",
    ],
)
def test_password_stays_secret(url):
    """The error for an invalid URL contains no part of it, also if the password was parsed as a port."""
    with pytest.raises(SettingInvalid, match="TASK_STATUS_REDIS_URL=…") as raised:
        from_env({"TASK_STATUS_REDIS_URL": url})

    assert "kanarienvogel" not in str(raised.value)


def test_documented():
    """The table of docs/settings.md lists every variable, and no other."""
    documented = re.findall(rf"^\| `{PREFIX}([A-Z_]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(documented) == sorted(VARIABLES)


@pytest.mark.parametrize(
    ("broker", "records", "is_one"),
    [
        ("redis://127.0.0.1:6379/0", "redis://user:password@127.0.0.1:6379/3", True),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6380/0", False),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock", True),
        ("unix:///run/redis.sock", "unix:///run/other.sock", False),
        ("amqp://rabbit", "redis://redis:6379/0", False),
    ],
)
def test_broker_and_records_in_one_server(broker, records, is_one):
    """One server is recognized by its address, with any user and database."""
    assert Settings(broker_url=broker, record_url=records).broker_holds_records is is_one


def test_limits_of_stored_data():
    """The limit of stored bytes and the time for arguments may be 0."""
    settings = from_env({"TASK_STATUS_STORED_BYTES_PER_OWNER": "0", "TASK_STATUS_ARGUMENTS_SECONDS": "0"})

    assert (settings.stored_bytes_per_owner, settings.arguments_seconds) == (0, 0)
    assert (Settings().stored_bytes_per_owner, Settings().arguments_seconds) == (256 << 20, 86_400)
