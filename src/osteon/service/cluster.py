"""Analyses done by other processes: Redis says where to look, Dramatiq's workers look; the store stays the truth.

A message may be lost, or come twice: whoever gets one takes the analysis it names if that is still waiting, else the
oldest that is due; and what is due while the queue is empty is sent again.
"""

import logging

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from osteon.errors import ConfigurationError
from osteon.service.runners import LOOK_SECONDS, Periodic
from osteon.service.work import Doer

logger = logging.getLogger(__name__)

_NAMESPACE = "osteon"
_QUEUE = "analyses"
_ACTOR = "analyse"
_IDLE_MS = 100
"""Most milliseconds between two looks into an empty queue."""
_AT_A_TIME = 100


class DramatiqRunner:
    """Tells workers elsewhere of analyses; nothing is done in this process."""

    def __init__(self, url: str) -> None:
        """Reach Redis.

        Raises:
            ConfigurationError: the address cannot be read.
        """
        self._broker = _broker(url)

    def start(self) -> None:
        """The workers see to what an earlier process left."""

    def submit(self, analysis_id: str) -> None:
        """Send a message; where Redis does not answer the workers find the analysis in the store, a little later."""
        try:
            _send(self._broker, analysis_id)
        except redis.RedisError as error:
            logger.warning("the queue does not answer: %s", type(error).__name__)

    def answers(self) -> bool:
        """Whether Redis does."""
        return _answers(self._broker)

    def stop(self) -> None:
        """Let go of Redis."""
        self._broker.close()
        self._broker.client.close()


class DramatiqWorkers:
    """Does analyses in threads of this process, as messages come."""

    def __init__(self, work: Doer, url: str, *, workers: int) -> None:
        """Reach Redis; nothing runs yet.

        Raises:
            ConfigurationError: the address cannot be read.
        """
        self._work = work
        self._broker = _broker(url)
        dramatiq.actor(broker=self._broker, actor_name=_ACTOR, queue_name=_QUEUE)(self._analyse)
        self._workers = dramatiq.Worker(self._broker, worker_threads=workers, worker_timeout=_IDLE_MS)
        self._turns = (
            Periodic(work.heartbeat, seconds=work.settings.lease_seconds / 4, name="heartbeat"),
            Periodic(self._send_again, seconds=LOOK_SECONDS, name="resend"),
        )

    def start(self) -> None:
        """Begin."""
        self._workers.start()
        for turn in self._turns:
            turn.start()

    def submit(self, analysis_id: str) -> None:
        """Send a message to whichever worker is free."""
        _send(self._broker, analysis_id)

    def answers(self) -> bool:
        """Whether Redis does."""
        return _answers(self._broker)

    def stop(self) -> None:
        """Have what runs finished or handed back, and messages put back into the queue."""
        self._work.stop()
        self._workers.stop()
        for turn in self._turns:
            turn.stop()
        self._broker.close()
        self._broker.client.close()

    def _analyse(self, analysis_id: str) -> None:
        try:
            turn = self._work.begin(analysis_id) or self._work.begin_next()
            if turn:
                turn()
            while turn := self._work.begin(analysis_id):  # what follows from it
                turn()
        except Exception as error:  # noqa: BLE001 - the edge: the lease ends, and it is done again
            logger.warning("a message of the queue: %s", type(error).__name__)

    def _send_again(self) -> None:
        """Messages for what is due, where none are on their way: after a back-off, or where they were lost."""
        if not self._broker.client.llen(f"{_NAMESPACE}:{_QUEUE}"):
            for analysis_id in self._work.due(limit=_AT_A_TIME):
                _send(self._broker, analysis_id)


def _broker(url: str) -> RedisBroker:
    try:
        return RedisBroker(url=url, namespace=_NAMESPACE, middleware=[])
    except ValueError as error:
        raise ConfigurationError(
            "the queue's address cannot be read", hint="set OSTEON_QUEUE_URL to redis://host:6379/0"
        ) from error


def _answers(broker: RedisBroker) -> bool:
    try:
        return bool(broker.client.ping())
    except redis.RedisError:
        return False


def _send(broker: RedisBroker, analysis_id: str) -> None:
    broker.enqueue(dramatiq.Message(queue_name=_QUEUE, actor_name=_ACTOR, args=(analysis_id,), kwargs={}, options={}))
