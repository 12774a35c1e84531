"""Whether a client has closed its connection."""

import socket

import pytest
from task_status_service.server.connection import ConnectionCheck, CrowdedServer, is_gone


@pytest.fixture
def pair():
    """Return the server's and the client's end of a connection."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def test_an_open_connection(pair):
    """A client that has sent nothing since its request is still there."""
    server, _ = pair

    assert not is_gone(server)


def test_reads_nothing_from_the_connection(pair):
    """The next request of the client, which may have arrived already, stays in the socket."""
    server, client = pair
    client.sendall(b"GET")

    assert not is_gone(server)
    assert server.recv(3) == b"GET"


def test_a_closed_connection(pair):
    """A client that has closed its connection is gone."""
    server, client = pair
    client.close()

    assert is_gone(server)


def test_a_broken_connection(pair):
    """A socket that raises has no client any more."""
    server, _ = pair
    server.close()

    assert is_gone(server)


def test_the_app_gets_the_check(pair):
    """The app finds the check under the key, and the check follows the connection."""
    server, client = pair
    asked = []

    def app(environ, _start_response):
        asked.append(environ["key"])
        return []

    ConnectionCheck(app, key="key")({"gunicorn.socket": server}, None)

    assert not asked[0]()
    client.close()
    assert asked[0]()


@pytest.mark.parametrize("is_crowded", [False, True])
@pytest.mark.parametrize("is_admitted", [False, True])
def test_a_crowded_server_closes_the_connections_of_strangers(is_crowded, is_admitted):
    """Only on a crowded server, and only if the app has not admitted the request, the connection is closed."""
    closed, started = [], []

    def app(environ, start_response):
        if is_admitted:
            environ["admitted"] = True
        start_response("200 OK", [])
        return [b"body"]

    server = CrowdedServer(app, key="admitted", is_crowded=lambda: is_crowded, close_after_response=closed.append)

    assert server({"gunicorn.socket": "a connection"}, lambda *given: started.append(given[:2])) == [b"body"]
    assert started == [("200 OK", [])]
    assert closed == (["a connection"] if is_crowded and not is_admitted else [])
