"""`/livez` and `/readyz`: is this process alive, and can it serve?"""

from typing import Final

from flask import Response

from task_status_service.api.context import readiness
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.operations import json
from task_status_service.api.responses.bodies import Alive, Ready, json_response
from task_status_service.errors import NotReady

blueprint: Final = Blueprint("health", __name__, description="For load balancers and people on call.")


@blueprint.route("/livez", methods=["GET"], scope=None)
@blueprint.doc(
    operationId="getLiveness",
    responses={200: json("Alive", "Alive.", "alive")},
)
def get_liveness() -> Response:
    """Tell whether this process is alive.

    Needs neither Redis nor the broker: who restarts a process that is not alive need not ask more.
    """
    return json_response(Alive())


@blueprint.route("/readyz", methods=["GET"], scope=None)
@blueprint.doc(
    operationId="getReadiness",
    responses={200: json("Ready", "Ready.", "ready")},
    problems=(NotReady,),
)
def get_readiness() -> Response:
    """Tell whether this service can do its work.

    Redis and the broker answer and a worker was seen; else the problem lists what is missing.
    """
    health = readiness().health()
    if health.faults:
        raise NotReady(faults=health.faults)
    return json_response(Ready(store_epoch=health.store_epoch, warnings=health.warnings))
