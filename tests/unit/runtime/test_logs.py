"""Log lines are one JSON object each."""

import json
import logging
import sys

from slipway_runtime.logs import JSONFormatter, PlainFormatter


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "here", "levelname": "INFO", "msg": message, **fields})
    made.created = 0.0
    return made


def test_a_line_is_one_json_object_with_its_fields() -> None:
    line = JSONFormatter().format(record("rollout", model="digits", weight=25))
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "INFO",
        "logger": "here",
        "message": "rollout",
        "model": "digits",
        "weight": 25,
    }


def test_line_breaks_in_a_value_stay_inside_the_line() -> None:
    assert "\n" not in JSONFormatter().format(record("a\nb", model="x\n{}", odd=object()))


def test_b66_what_a_reader_would_act_on_is_escaped() -> None:
    nasty = "\x1b[31m\x9b\u2028\u202e\x7f%s\r\n"
    made = record("said", cause=nasty)
    text = JSONFormatter().format(made)
    assert text.isprintable()
    assert json.loads(text)["cause"] == nasty
    assert PlainFormatter().format(made).isprintable()


def test_words_of_every_script_stay_readable() -> None:
    assert "вход" in JSONFormatter().format(record("said", cause="вход"))


def test_an_exception_is_a_field() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        line = JSONFormatter().format(record("broke", exc_info=sys.exc_info()))
    assert "ValueError: why" in json.loads(line)["exception"]


def test_a_terminal_gets_plain_lines() -> None:
    assert PlainFormatter().format(record("ready", model="digits")) == "info    ready model=digits"
