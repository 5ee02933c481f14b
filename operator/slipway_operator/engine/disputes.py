"""Who writes what we write: an object that is changed again after every repair is not fought for.

A repair is a write of something that we had written before, word for word. The first few are free,
so that what a person changes comes back at once; then pauses double.
Formula: pause before repair n = 0 if n <= FREE, else min(MAX_PAUSE_S, 2 ** (n - FREE)).

>>> disputes = Disputes()
>>> key = CacheKey("Service", "t1", "digits")
>>> for second in range(FREE + 2):
...     disputes.wrote(key, "what we want", float(second))
>>> disputes.pause_s(key, "what we want", now=FREE + 1.5)
1.5
>>> disputes.pause_s(key, "something else", now=FREE + 1.5)
0.0
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from slipway_operator.engine.cache import CacheKey

FREE: Final = 5
QUIET_S: Final = 60.0
MAX_PAUSE_S: Final = 600.0
FIGHT_S: Final = 300.0
"""How long a repair of a route is remembered as a fight."""
_MEMORY: Final = 4096
"""Objects that are remembered: what is fought about is written often, and so stays among them."""


@dataclass(slots=True)
class _Dispute:
    fingerprint: str
    """Of what we write."""
    repairs: int
    at: float
    """When we wrote it last."""
    text: str = ""
    """What is fought about, in words; found out once."""
    is_vain: bool = False
    """The API server itself changes what is written."""

    @property
    def pause_s(self) -> float:
        beyond = self.repairs - FREE
        return min(MAX_PAUSE_S, 2.0 ** min(beyond, 20)) if beyond > 0 else 0.0

    def is_over(self, now: float) -> bool:
        return now - self.at > max(QUIET_S, 2 * self.pause_s)


class Disputes:
    """Counts repairs per object; times are those of any clock that only goes forward."""

    def __init__(self) -> None:
        self._disputes: OrderedDict[CacheKey, _Dispute] = OrderedDict()
        self._repairs: OrderedDict[CacheKey, tuple[str, tuple[float, ...]]] = OrderedDict()

    def fights(self, key: CacheKey, now: float) -> int:
        """Count the repairs of the last `FIGHT_S` seconds, also those that were far apart."""
        _, times = self._repairs.get(key, ("", ()))
        return sum(now - at < FIGHT_S for at in times)

    def _remember(self, key: CacheKey, fingerprint: str, now: float) -> None:
        before, times = self._repairs.pop(key, ("", ()))
        recent = tuple(at for at in times if now - at < FIGHT_S)
        again = (now,) if before == fingerprint else ()
        self._repairs[key] = fingerprint, (*recent, *again)[-FREE:]
        if len(self._repairs) > _MEMORY:
            self._repairs.popitem(last=False)

    def wrote(self, key: CacheKey, fingerprint: str, now: float, *, is_vain: bool = False) -> None:
        """Note a write; `is_vain` when its answer shows that the API server changes it itself."""
        known = self._about(key, fingerprint, now)
        self._remember(key, fingerprint, now)
        if known is None:
            known = self._disputes[key] = _Dispute(fingerprint, 0, now)
        else:
            known.repairs += 1
        if is_vain:
            known.repairs = max(known.repairs, FREE + 1)
        known.is_vain, known.at = is_vain, now
        self._disputes.move_to_end(key)
        if len(self._disputes) > _MEMORY:
            self._disputes.popitem(last=False)

    def pause_s(self, key: CacheKey, fingerprint: str, now: float) -> float:
        """How long the next repair has to wait from now, in seconds."""
        known = self._about(key, fingerprint, now)
        return max(0.0, known.at + known.pause_s - now) if known else 0.0

    def is_vain(self, key: CacheKey, fingerprint: str, now: float) -> bool:
        """Tell whether the API server itself changes what is written."""
        known = self._about(key, fingerprint, now)
        return known is not None and known.is_vain

    def open_about(self, key: CacheKey, fingerprint: str, now: float) -> str:
        """What is fought about; empty when it is not known yet, or the other side has stopped."""
        known = self._about(key, fingerprint, now)
        return known.text if known and now < known.at + 2 * known.pause_s else ""

    def describe(self, key: CacheKey, text: str) -> None:
        """Note what is fought about."""
        self._disputes[key].text = text

    def _about(self, key: CacheKey, fingerprint: str, now: float) -> _Dispute | None:
        known = self._disputes.get(key)
        if known is None or known.fingerprint != fingerprint or known.is_over(now):
            return None
        return known
