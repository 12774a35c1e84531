"""`/livez` and `/readyz`: is this process alive, and can it serve?"""

from typing import Final

from flask import Response

from task_status_service.api.answers import Alive, Ready, json_response
from task_status_service.api.context import tracker
from task_status_service.api.smorest import Blueprint
from task_status_service.errors import NotReady

blueprint: Final = Blueprint("health", __name__, description="For load balancers and people on call.")


@blueprint.route("/livez", methods=["GET"], scope=None)
@blueprint.doc(
    operationId="getLiveness",
    responses={
        200: {
            "description": "Alive.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Alive"}, "example": {"status": "alive"}}
            },
        }
    },
)
def get_liveness() -> Response:
    """Tell whether this process is alive; needs neither Redis nor the broker."""
    return json_response(Alive())


@blueprint.route("/readyz", methods=["GET"], scope=None)
@blueprint.doc(
    operationId="getReadiness",
    responses={
        200: {
            "description": "Ready.",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Ready"},
                    "example": {"status": "ready", "store_epoch": "2026-01-02T03:04:05Z/9f2c61ab", "warnings": []},
                }
            },
        },
        503: "SERVICE_UNAVAILABLE",
    },
)
def get_readiness() -> Response:
    """Tell whether Redis and the broker answer and a worker was seen; the problem lists what is missing."""
    health = tracker().readiness.health()
    if health.faults:
        raise NotReady(faults=health.faults)
    return json_response(Ready(store_epoch=health.store_epoch, warnings=health.warnings))
