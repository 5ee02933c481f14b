"""Which paths ask for an inference."""

import pytest

from slipway_runtime.protocols.dialect import Target
from slipway_runtime.protocols.v2 import infer_target


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/v2/models/m/infer", Target("m", None), id="a model"),
        pytest.param(b"/v2/models/m/versions/3/infer", Target("m", "3"), id="a version"),
        pytest.param(b"/v2/models/a%2Fb/infer", Target("a/b", None), id="an encoded slash"),
        pytest.param(b"/v2/models/%2e%2e/infer", Target("..", None), id="dots are a name"),
        pytest.param(b"/v2/models/%ff/infer", Target("\ufffd", None), id="no UTF-8"),
        pytest.param(b"/v2/models//infer", Target("", None), id="no name"),
        pytest.param(b"/v2/models/m", None, id="metadata"),
        pytest.param(b"/v2/models/m/infer/", None, id="a trailing slash"),
        pytest.param(b"//v2/models/m/infer", None, id="a double slash"),
        pytest.param(b"/V2/models/m/infer", None, id="another case"),
        pytest.param(b"/v2/models/m/version/3/infer", None, id="another word"),
        pytest.param(b"/", None, id="the root"),
    ],
)
def test_paths_name_models(path: bytes, expected: Target | None) -> None:
    assert infer_target(path) == expected
