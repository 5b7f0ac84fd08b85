"""Log lines on stderr: text for a person or JSON for a machine. Only `maeum serve` configures them.

No line holds request content. Exceptions are logged without their messages, which may quote it, also those that
uvicorn, asyncio, a thread or a finaliser reports. A line that cannot be written (a full disk, a closed pipe, a pipe
that nobody reads) is lost, and nothing else happens.
"""

import json
import logging
import re
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, Literal, NamedTuple, TextIO

from ..errors import traceback_without_values

# The package, whatever name it is installed under: the logger above all of our own.
PACKAGE = __name__.removesuffix(".telemetry.logs")


class Context(NamedTuple):
    """The request that a line belongs to. Trace ids are hexadecimal, as in W3C's trace context."""

    request_id: str
    trace_id: str | None = None
    span_id: str | None = None


_MAX_LINES = 10_000  # waiting to be written, 10 MB of requests
_LAST_S = 2.0  # for the lines that still wait when the process ends

context: ContextVar[Context | None] = ContextVar("context", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Loggers whose messages may quote values, and the part that does: asyncio appends a callback's arguments or a task's
# exception to its sentence, a warning its text to its place and kind.
_VALUES = {"asyncio": re.compile(r"[\n(<].*", re.DOTALL), "py.warnings": re.compile(r"(?<=Warning): .*", re.DOTALL)}


def configure(
    log_format: Literal["text", "json"],
    log_level: Literal["debug", "info", "warning", "error"],
    stream: TextIO | None = None,
) -> None:
    """Makes every logger of this process write to `stream`, by default stderr.

    Below warnings only our own lines are written, and uvicorn's at debug: other libraries quote their input there.
    """
    level = getattr(logging, log_level.upper())
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger(PACKAGE).setLevel(level)
    # Below warnings it reports only its own start and end, which our own lines report.
    logging.getLogger("uvicorn").setLevel(level if level < logging.INFO else max(level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error"):  # in case uvicorn was configured before
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # it writes paths as they were sent
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings quote the form
    logging.captureWarnings(True)
    log = logging.getLogger(f"{PACKAGE}.process")

    def failed(what: str, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, SystemExit):
            log.error("%s failed.", what, exc_info=error)

    threading.excepthook = lambda given: failed("A thread", given.exc_value)
    sys.unraisablehook = lambda given: failed("A finaliser", given.exc_value)


class _Handler(QueueHandler):
    """Formats a record where it was logged, so in its request's context, and leaves the line to a `_Listener`."""

    def __init__(self, stream: TextIO) -> None:
        self._lines: Queue[logging.LogRecord] = Queue(_MAX_LINES)
        super().__init__(self._lines)
        self._listener = _Listener(self._lines, stream)
        self._listener.start()

    def handleError(self, record: logging.LogRecord) -> None:
        """Does nothing. The queue is full or the record cannot be formatted: the line is lost."""

    def close(self) -> None:
        self._listener.stop()
        super().close()


class _Listener(QueueListener):
    """Writes lines to `stream` in a thread of its own. Where a pipe is full, that thread waits, and no request does."""

    def __init__(self, lines: Queue[logging.LogRecord], stream: TextIO) -> None:
        super().__init__(lines)
        self._stream = stream

    # No handler: logging takes every handler's lock as the process ends, so one that waits to write would stop that.
    def handle(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # a full disk, or a stream that was closed
            self._stream.write(record.getMessage() + "\n")
            self._stream.flush()

    def stop(self) -> None:
        """Writes the lines that wait, for at most `_LAST_S`; the base class would wait without end."""
        if self._thread is not None:
            with suppress(Full):
                self.enqueue_sentinel()
            self._thread.join(_LAST_S)
            self._thread = None


class JsonFormatter(logging.Formatter):
    """A line of ASCII for each record."""

    def format(self, record: logging.LogRecord) -> str:
        ids = context.get()
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **({} if ids is None else {name: value for name, value in ids._asdict().items() if value is not None}),
            **_fields(record),
        }
        return json.dumps(line, default=lambda value: type(value).__name__)


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER [REQUEST ID] MESSAGE name=value ...`, with a traceback below it for an exception."""

    def format(self, record: logging.LogRecord) -> str:
        ids = context.get()
        request = [] if ids is None else [f"[{ids.request_id}]"]
        fields = [f"{name}={value}" for name, value in _fields(record).items()]
        return " ".join([_time(record), f"{record.levelname:7}", record.name, *request, _message(record), *fields])


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.name in _VALUES:
        message = _VALUES[record.name].sub("", message)
    error = record.exc_info[1] if record.exc_info else None
    return message if error is None else f"{message.rstrip()}\n{traceback_without_values(error)}"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The `extra` fields of our own lines, without those that are None. Other libraries' fields may hold anything."""
    if not record.name.startswith(f"{PACKAGE}."):
        return {}
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}
