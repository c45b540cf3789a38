"""How files become rows that wait: their content keys, the limit of the queue, the first entry of their trail."""

import hashlib
import uuid
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from osteon.errors import TooManyWaiting
from osteon.service.tables import AnalysisRow, AuditRow, now

if TYPE_CHECKING:
    from osteon.service.store import Upload


def trail(analysis_id: str, owner: str, action: str, actor: str) -> AuditRow:
    """A row of the audit trail, for now."""
    return AuditRow(at=now(), owner=owner, actor=actor, action=action, analysis_id=analysis_id)


def row_of(upload: "Upload", *, owner: str, models: str) -> AnalysisRow:
    """The row of an upload that waits."""
    moment = now()
    return AnalysisRow(
        id=uuid.uuid4().hex,
        name=upload.name[:255],
        size_bytes=upload.size_bytes,
        status="queued",
        progress=0.0,
        attempts=0,
        created_at=moment,
        changed_at=moment,
        pages=[],
        sha256=upload.sha256,
        owner=owner,
        study=upload.study,
        cancel_requested=False,
        content_key=content_key(upload.sha256, owner=owner, models=models) if models else None,
    )


def content_key(sha256: str, *, owner: str, models: str) -> str:
    """What names an owner's content as these models see it."""
    return hashlib.sha256(f"{owner}\n{sha256}\n{models}".encode()).hexdigest()


def holder(session: Session, content_key: str | None, *, gives_way: bool) -> AnalysisRow | None:
    """The row that holds a content key, unless it gives it up for another."""
    if content_key is None:
        return None
    if not gives_way:
        return session.scalar(select(AnalysisRow).where(AnalysisRow.content_key == content_key))
    session.execute(update(AnalysisRow).where(AnalysisRow.content_key == content_key).values(content_key=None))
    return None


def enqueue(session: Session, row: AnalysisRow) -> None:
    """Have a row wait."""
    session.add(row)
    session.add(trail(row.id, row.owner, "accepted", row.owner))
    session.flush()


def check_queue(session: Session, count: int, queue_limit: int, *, counted: bool = False) -> None:
    """Raises TooManyWaiting where `count` more (or, where they are counted already, they) are too many."""
    waiting = waiting_count(session) - (count if counted else 0)
    if count and waiting + count > queue_limit:
        raise TooManyWaiting(
            f"{waiting} analyses are waiting, at most {queue_limit} may", hint="send it again in some seconds"
        )


def waiting_count(session: Session) -> int:
    """How many are queued."""
    return session.scalar(select(func.count()).where(AnalysisRow.status == "queued")) or 0
