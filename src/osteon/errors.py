"""What can go wrong, on one page.

Every error that Osteon raises on purpose is an `OsteonError`: its message says what was found and what was
expected, its hint what to do next. Neither ever names a patient. The classes differ by what a caller can do.
A programming mistake stays a `ValueError` or `TypeError`.
"""


class OsteonError(Exception):
    """Anything Osteon reports to a person: a message and a hint.

    >>> str(InvalidImage("empty file", hint="send the original export"))
    'empty file'
    """

    exit_status = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidImage(OsteonError):
    """The bytes are no picture that can be decoded: truncated, empty, encrypted, text, or not what they claim."""

    http_status = 422


class UnsupportedDicom(InvalidImage):
    """A DICOM object that is valid but holds no pixels Osteon can show (a report, a video, a rare codec)."""


class ImageTooLarge(InvalidImage):
    """More bytes or pixels than the limits allow; found before the pixels are decoded."""

    http_status = 413


class DecoderCrashed(InvalidImage):
    """The process that decoded the file ended, or ran out of memory; nothing but this file was lost."""


class DecoderTimedOut(InvalidImage):
    """Decoding the file took longer than one may; the process that did it was ended."""


class InvalidAnswer(OsteonError):
    """A reader's answer that contradicts itself, the picture's size, or what the model said."""

    http_status = 422


class UploadNotFound(OsteonError):
    """No resumable upload has this id (or it was finished, removed, or has expired)."""

    http_status = 404


class UploadIncomplete(OsteonError):
    """A resumable upload of which not all bytes have come yet."""

    http_status = 409


class OffsetMismatch(OsteonError):
    """A piece of a resumable upload that does not begin where the upload ends.

    Attributes:
        received_bytes: where it should begin.
    """

    http_status = 409

    def __init__(self, message: str, *, hint: str, received_bytes: int) -> None:
        super().__init__(message, hint=hint)
        self.received_bytes = received_bytes


class InvalidDataset(OsteonError):
    """A folder or annotation file that is not laid out as its format says."""

    http_status = 422


class ModelMismatch(OsteonError):
    """A model file without a card, of another task, or damaged."""

    exit_status = 2


class InvalidBackup(OsteonError):
    """The file is no back-up of a store, or was cut off, damaged, or written by a later version."""

    http_status = 422


class AnalysisNotFound(OsteonError):
    """No analysis has this id (or it was removed)."""

    http_status = 404


class AnalysisTimedOut(OsteonError):
    """An analysis that took longer than one may; it is not tried again."""


class BonesNotFound(OsteonError):
    """Nobody asked for the bones of this analysis, or they are not found yet."""

    http_status = 404


class BonesImpossible(OsteonError):
    """Bones of an analysis that failed or was cancelled: there is nothing to show them on."""

    http_status = 409


class TooManyWaiting(OsteonError):
    """The queue is full; the caller should come back later."""

    http_status = 429


class NotSignedIn(OsteonError):
    """No key, one that does not work (any more), or a session that ended."""

    http_status = 401


class NotAllowed(OsteonError):
    """The key lacks the scope, or the request comes from where it must not.

    Attributes:
        scope: the scope that is missing; '' for other reasons.
    """

    http_status = 403

    def __init__(self, message: str, *, hint: str = "", scope: str = "") -> None:
        super().__init__(message, hint=hint)
        self.scope = scope


class TooManyRequests(OsteonError):
    """Somebody asks more often than the limits allow.

    Attributes:
        retry_after_seconds: when the next request is let in.
    """

    http_status = 429

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class DecoderUnavailable(OsteonError):
    """No process could read the file just now: it did not start, or was ended for want of memory; come back later."""

    http_status = 503


class ConfigurationError(OsteonError):
    """A setting or option with a value that cannot work."""

    exit_status = 2


class MissingExtra(ConfigurationError):
    """A part of Osteon that needs an optional dependency which is not installed."""


class NoBonesModel(ConfigurationError):
    """Bones were asked for, and no bones model is installed."""

    http_status = 501


class ServiceUnreachable(OsteonError):
    """Seen by `osteon.client`: nothing answers there, the connection keeps breaking, or something else answers."""

    http_status = 503


class RequestRefused(OsteonError):
    """Seen by `osteon.client`: the service answered with a problem; `kind` and `status` tell which.

    Attributes:
        kind: name of the service's error, such as `InvalidImage` or `AnalysisNotFound`.
        status: of the HTTP answer.
    """

    http_status = 502

    def __init__(self, message: str, *, hint: str, kind: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.status = status
