"""Every error has a status and one string."""

import json
from collections.abc import Iterator

import pytest

from slipway_runtime.errors import ServingError
from slipway_runtime.protocols.wire import WIRE_STATUS, error_body, status_of


def kinds(base: type[ServingError]) -> Iterator[type[ServingError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds(ServingError)))
def test_every_serving_error_has_a_status(kind: type[ServingError]) -> None:
    assert 400 <= status_of(kind("why")) < 600


def test_no_status_is_given_to_what_is_no_error() -> None:
    assert set(WIRE_STATUS) == set(kinds(ServingError))


def test_an_error_is_one_string_that_fits() -> None:
    body = error_body("ä\ud800\n" * 5000)
    assert len(body) < 1024 * 2
    assert list(json.loads(body)) == ["error"]
