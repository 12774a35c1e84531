"""`/livez` and `/readyz`: liveness and readiness probes."""

from typing import Final

from flask import Response

from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import known_caller
from task_status_service.api.context import readiness
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.operations import json
from task_status_service.api.responses.bodies import Alive, Ready, json_response
from task_status_service.errors import Forbidden, NotReady

blueprint: Final = Blueprint("health", __name__, description="For load balancers and operators.")


@blueprint.route("/livez", methods=["GET"], scope=None)
@blueprint.doc(
    operationId="getLiveness",
    responses={200: json("Alive", "Alive.", "alive")},
)
def get_liveness() -> Response:
    """Return 200 while this process is alive.

    Checks only this process, neither Redis nor the broker; use it as a liveness probe.
    """
    return json_response(Alive())


@blueprint.route("/readyz", methods=["GET"], scope=None)
@blueprint.doc(
    operationId="getReadiness",
    responses={200: json("Ready", "Ready.", "ready")},
    problems=(NotReady, Forbidden),
)
def get_readiness() -> Response:
    """Return 200 if the service is ready.

    Ready means that Redis and the broker answer and a worker has sent a heartbeat; otherwise the problem lists each
    fault. The check is at most a second old. With API keys, `store_epoch` and `warnings` are empty for callers without
    one, and addresses in faults need the scope `tracebacks`.
    """
    visitor, health = known_caller(), readiness().health()
    if faults := health.faults(is_operator=visitor is not None and visitor.may(Scope.TRACEBACKS)):
        raise NotReady(faults=faults)
    if visitor is None:
        return json_response(Ready())
    return json_response(Ready(store_epoch=health.store_epoch, warnings=health.warnings))
