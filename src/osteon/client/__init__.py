"""A client of the service, for programs: `Client`, and `AsyncClient` with the same methods to await.

Needs httpx (`pip install 'osteon[client]'`) and nothing else of Osteon but its errors.
"""

from osteon.errors import MissingExtra

try:
    import httpx  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra("the client needs httpx", hint="pip install 'osteon[client]'") from error

from osteon.client.awaiting import AsyncClient
from osteon.client.blocking import Client
from osteon.client.exchange import Patience
from osteon.client.records import (
    Accepted,
    Analysis,
    Answer,
    Bone,
    Bones,
    BoxAnswer,
    Damage,
    Failure,
    Findings,
    Fracture,
    Model,
    Preview,
    Sent,
    SingleBone,
)

__all__ = [
    "Accepted",
    "Analysis",
    "Answer",
    "AsyncClient",
    "Bone",
    "Bones",
    "BoxAnswer",
    "Client",
    "Damage",
    "Failure",
    "Findings",
    "Fracture",
    "Model",
    "Patience",
    "Preview",
    "Sent",
    "SingleBone",
]
