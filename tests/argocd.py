"""Argo CD's Lua, played: scripts see `obj` and the few libraries that Argo CD lets them have.

Lua 5.1 with base and table; of `os`, by `require`, only the time. No strings, no files.
Source: argo-cd, util/lua/lua.go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from lupa.lua51 import LuaRuntime, lua_type

from tests.unit.repository.files import REPOSITORY

FOLDER: Final = REPOSITORY / "integrations" / "argocd" / "slipway.dev" / "ModelDeployment"
NOW: Final = 1763631000
_FEW: Final = """
local time, date = os.time, os.date
for _, name in ipairs({"io", "os", "string", "math", "debug", "package", "coroutine", "dofile",
                       "loadfile", "load", "loadstring", "module", "python"}) do
  _G[name] = nil
end
function require(name)
  if name == "os" then return {time = function() return NOW end, date = date} end
  error("no module " .. tostring(name))
end
getmetatable("").__index = nil
"""


def run(script: Path, obj: dict[str, Any]) -> Any:
    """Run a script on an object, and tell what it returns, as plain values."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    lua.globals().NOW = NOW
    lua.execute(_FEW)
    lua.globals().obj = lua.table_from(obj, recursive=True)
    return _plain(lua.execute(script.read_text()))


def _plain(value: Any) -> Any:
    if lua_type(value) != "table":
        return value
    keys = list(value)
    if keys and all(isinstance(k, int) for k in keys):
        return [_plain(value[k]) for k in sorted(keys)]
    return {k: _plain(value[k]) for k in keys}
