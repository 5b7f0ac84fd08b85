"""What is written down: lines of text for a person or of JSON for a machine, on stderr. Called by `maeum serve` alone.

No line holds what anyone sent. Exceptions are written without their messages, which may quote it; so are those that
uvicorn, asyncio, a thread or an object's end report. A line that cannot be written, to a full disk, a closed pipe or
one that nobody reads, is lost, and nothing else.
"""

import json
import logging
import re
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from queue import Full, Queue
from typing import Any, Literal, NamedTuple, TextIO

from ..errors import traceback_without_values


class Context(NamedTuple):
    """The request that a line belongs to. The ids are hexadecimal, as in W3C's trace context."""

    request_id: str
    trace_id: str | None = None
    span_id: str | None = None


_MAX_LINES = 10_000  # that wait to be written, a few MB
_LAST_S = 2.0

context: ContextVar[Context | None] = ContextVar("context", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What follows may quote values: after asyncio's sentence the callback's arguments or the task's exception, after a
# warning's place and kind its text.
_VALUES = {"asyncio": re.compile(r"[\n(<].*", re.DOTALL), "py.warnings": re.compile(r"(?<=Warning): .*", re.DOTALL)}


def configure(
    log_format: Literal["text", "json"],
    log_level: Literal["debug", "info", "warning", "error"],
    stream: TextIO | None = None,
) -> None:
    """Makes every logger of this process write to `stream`, by default stderr.

    Below warnings only our own lines are written, and uvicorn's at debug: at their lower levels other libraries quote
    what they are given.
    """
    level = getattr(logging, log_level.upper())
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("app").setLevel(level)
    # Below warnings it only tells of its own start and end, which are told in our words.
    logging.getLogger("uvicorn").setLevel(level if level < logging.INFO else max(level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error"):  # in case uvicorn was configured before
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # it writes paths as they were sent
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings quote the form
    logging.captureWarnings(True)
    log = logging.getLogger("app.process")

    def failed(what: str, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, SystemExit):
            log.error("%s failed.", what, exc_info=error)

    threading.excepthook = lambda given: failed("A thread", given.exc_value)
    sys.unraisablehook = lambda given: failed("An object's end", given.exc_value)


class _Handler(logging.Handler):
    """Writes in a thread of its own: where nobody reads the other end of a pipe, that thread waits, and no request."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: Queue[str | None] = Queue(_MAX_LINES)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except Exception:  # noqa: BLE001 - full, or not to be formatted: it must disturb nobody, and cannot be reported
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the line is lost."""

    def close(self) -> None:
        """Writes what is left, if that goes quickly. The interpreter calls it at its end."""
        with suppress(Full):
            self._lines.put_nowait(None)
        self._thread.join(_LAST_S)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError, ValueError):  # a full disk, or a stream that was closed
                self._stream.write(line + "\n")
                self._stream.flush()


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
    """`TIME LEVEL LOGGER [REQUEST ID] MESSAGE name=value ...`; where something failed, more lines say where."""

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
    """What our own lines carry beside their message, None left out. What others add may hold anything."""
    if not record.name.startswith("app."):
        return {}
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}
