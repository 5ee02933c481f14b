"""Log lines: JSON for machines, one plain line each for a terminal. Configured once, at the edge.

No line carries request or response payloads; URLs lose their user info and query.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import sys
from datetime import UTC, datetime
from typing import Any, Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
}


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render the record; a field that JSON cannot hold is written as its string."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str, ensure_ascii=False)
        if text.isprintable():
            return text
        # JSON lets pass what readers act on: C1 controls, separators of lines, marks of direction.
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


class PlainFormatter(logging.Formatter):
    """The same for eyes: message first, then `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Render the record on one line, or more where it carries an exception."""
        fields = "".join(f" {key}={value}" for key, value in _extra(record).items())
        text = visible(f"{record.levelname.lower():7} {record.getMessage()}{fields}")
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class LineQueue(logging.handlers.QueueHandler):
    """Hands the lines of one logger to a thread; a reader who is away holds no request up.

    When the queue is full, lines are dropped and counted.
    """

    def __init__(self, name: str, max_lines: int) -> None:
        waiting: queue.Queue[Any] = queue.Queue(max_lines)
        super().__init__(waiting)
        self.dropped = 0
        self._logger: Final = logging.getLogger(name)
        self._writer: Final = _Writer(waiting, *logging.getLogger().handlers)

    def start(self) -> None:
        """Take the logger over, whatever the level of others: it is a stream of its own."""
        self._logger.handlers[:] = [self]
        self._logger.propagate = False
        self._logger.setLevel(logging.INFO)
        self._writer.start()

    def finish(self) -> None:
        """Write what waits; for as long as the reader takes."""
        self._logger.handlers[:] = []
        self._writer.stop()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Leave the work to the thread: the fields are plain values that nobody changes."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Append a line, or count it."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(logging.handlers.QueueListener):
    def __init__(self, waiting: queue.Queue[Any], *handlers: logging.Handler) -> None:
        super().__init__(waiting, *handlers)
        self._waiting: Final = waiting

    def enqueue_sentinel(self) -> None:
        """Wait for a place: the last word must not be lost because the queue is full."""
        self._waiting.put(None)


def visible(text: str) -> str:
    r"""Write what a terminal would act on as an escape.

    >>> visible("red \x1b[31m, вход")
    'red \\x1b[31m, вход'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure_logging(level: str) -> None:
    """Send every logger to standard error: JSON, or plain lines when a person is watching."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter() if sys.stderr.isatty() else JSONFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Their INFO is a line per connection or request; uvicorn warns of every malformed request.
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
