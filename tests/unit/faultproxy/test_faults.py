"""Each fault does what it says, to the requests it names, as often as it says."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from yarl import URL

from tests.cluster.faultproxy import (
    EVERY,
    WRITES,
    Answer,
    Cut,
    Delay,
    Drop,
    Expire,
    Fault,
    FaultProxy,
    FaultProxyError,
    Hang,
    Refuse,
    Swallow,
    answers,
    crash_at_write,
)
from tests.unit.faultproxy.upstream_double import ApiServer

PODS = "/api/v1/namespaces/t1/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/t1/deployments"


async def status_of(session: aiohttp.ClientSession, path: str = PODS) -> int:
    """Return the status of a GET."""
    async with session.get(path) as answer:
        return answer.status


async def write(session: aiohttp.ClientSession, name: str) -> int:
    """Apply an object of this name and return the status.

    A PATCH, like server-side apply, and because aiohttp's client repeats a GET or PUT by itself
    when the connection is lost.
    """
    async with session.patch(f"{DEPLOYMENTS}/{name}", json={"metadata": {"name": name}}) as answer:
        return answer.status


class Watch:
    """An open watch of pods through the proxy."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> dict[str, Any] | None:
        """Return the next event, None at a clean end."""
        line = await self._answer.content.readline()
        event: dict[str, Any] | None = json.loads(line) if line else None
        return event

    async def names(self, count: int) -> list[str]:
        """Return the names in the next events."""
        events = [await self.next() for _ in range(count)]
        return [event["object"]["metadata"]["name"] for event in events if event is not None]

    def close(self) -> None:
        """Hang up."""
        self._answer.close()


Watching = Callable[..., Awaitable[Watch]]


@pytest.fixture
async def watching(session: aiohttp.ClientSession, upstream: ApiServer) -> AsyncIterator[Watching]:
    """A function that opens a watch and waits until the API server knows; closes all."""
    opened: list[Watch] = []

    async def open_watch(path: str = PODS) -> Watch:
        upstream.opened.clear()
        opened.append(Watch(await session.get(path, params={"watch": "true"})))
        assert await asyncio.to_thread(upstream.opened.wait, 5)
        return opened[-1]

    yield open_watch
    for watch in opened:
        watch.close()


class TestForwarding:
    async def test_a_request_and_its_answer_pass_unchanged(self, proxy: FaultProxy) -> None:
        url = URL(f"{proxy.url}{PODS}?labelSelector=a%3Db%2Cc", encoded=True)
        async with aiohttp.request("GET", url) as answer:
            assert answer.headers["X-From"] == "upstream"
            assert (await answer.json())["path"] == f"{PODS}?labelSelector=a%3Db%2Cc"

    async def test_a_write_arrives_with_its_body(
        self, upstream: ApiServer, session: aiohttp.ClientSession
    ) -> None:
        assert await write(session, "d1") == 201
        assert upstream.objects == {f"{DEPLOYMENTS}/d1": {"metadata": {"name": "d1"}}}

    async def test_a_watch_passes_event_by_event(
        self, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        for name in ("a", "b"):
            upstream.say("ADDED", name)
            assert await watch.names(1) == [name]

    async def test_an_event_that_comes_in_pieces_is_one_event(
        self, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        for piece in (b'{"type": "ADDED", "object": {"meta', b'data": {"name": "a"}}}\n'):
            upstream.say_bytes(piece)
            await asyncio.sleep(0.05)
        assert await watch.names(1) == ["a"]

    async def test_a_watch_that_the_server_ends_is_ended(
        self, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        upstream.end_watches()
        assert await watch.next() is None

    async def test_a_client_that_hangs_up_ends_its_watch_at_the_server(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        watch.close()
        await proxy.until(lambda: upstream.open_watches == 0, timeout_s=5)

    async def test_a_server_that_is_gone_drops_the_connection(self, tmp_path: Path) -> None:
        with ApiServer().running() as gone:
            kubeconfig = gone.write_kubeconfig(tmp_path / "kubeconfig")
        with FaultProxy(kubeconfig) as proxy:
            async with aiohttp.ClientSession(proxy.url) as session:
                with pytest.raises(aiohttp.ClientError):
                    await status_of(session)

    async def test_the_kubeconfig_points_at_the_proxy_and_keeps_the_namespace(
        self, proxy: FaultProxy
    ) -> None:
        config = yaml.safe_load(proxy.kubeconfig.read_text())
        assert config["clusters"][0]["cluster"] == {"server": proxy.url}
        assert config["contexts"][0]["context"]["namespace"] == "n"

    async def test_the_token_of_the_kubeconfig_is_used_unless_the_client_brings_one(
        self, upstream: ApiServer, tmp_path: Path
    ) -> None:
        kubeconfig = upstream.write_kubeconfig(tmp_path / "with-token", token="ours")
        with FaultProxy(kubeconfig) as proxy:
            async with aiohttp.ClientSession(proxy.url) as session:
                await status_of(session)
                async with session.get(PODS, headers={"Authorization": "Bearer theirs"}):
                    pass
        assert upstream.authorizations == ["Bearer ours", "Bearer theirs"]


class TestFaultsOfRequests:
    async def test_delay_forwards_later(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        proxy.inject(Fault(Delay(0.3)))
        start = time.monotonic()
        assert await status_of(session) == 200
        assert time.monotonic() - start >= 0.3

    async def test_hang_says_nothing_until_it_is_cleared(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        number = proxy.inject(Fault(Hang()))
        mark = proxy.mark()
        asking = asyncio.create_task(write(session, "d1"))
        await proxy.until_fired(number, timeout_s=5)
        await asyncio.sleep(0.2)
        assert not asking.done()
        proxy.clear()
        with pytest.raises(aiohttp.ClientError):
            await asking
        (seen,) = proxy.requests(after=mark)
        assert (seen.forwarded, seen.status) == (False, None)

    async def test_hang_ends_with_its_duration(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        proxy.inject(Fault(Hang(), duration_s=0.3))
        start = time.monotonic()
        with pytest.raises(aiohttp.ClientError):
            await write(session, "d1")
        assert time.monotonic() - start >= 0.2
        assert await status_of(session) == 200

    async def test_refuse_closes_the_connection_unforwarded(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        mark = proxy.mark()
        proxy.inject(Fault(Refuse()))
        with pytest.raises(aiohttp.ClientError):
            await write(session, "d1")
        (seen,) = proxy.requests(after=mark)
        assert (seen.forwarded, seen.status) == (False, None)

    @pytest.mark.parametrize(
        ("forwarded", "expected"),
        [
            pytest.param(False, [], id="before it is forwarded"),
            pytest.param(True, [f"{DEPLOYMENTS}/d1"], id="after it was done"),
        ],
    )
    async def test_drop_leaves_a_write_without_an_answer(
        self,
        proxy: FaultProxy,
        upstream: ApiServer,
        session: aiohttp.ClientSession,
        forwarded: bool,
        expected: list[str],
    ) -> None:
        mark = proxy.mark()
        proxy.inject(Fault(Drop(forwarded), verbs=WRITES))
        with pytest.raises(aiohttp.ClientError):
            await write(session, "d1")
        assert list(upstream.objects) == expected
        assert [seen.forwarded for seen in proxy.requests(after=mark)] == [forwarded]

    @pytest.mark.parametrize(
        ("forwarded", "expected"),
        [
            pytest.param(False, ["d1", "d2"], id="the third is lost"),
            pytest.param(True, ["d1", "d2", "d3"], id="the third is done"),
        ],
    )
    async def test_a_crash_at_the_third_write_lets_no_later_one_through(
        self,
        proxy: FaultProxy,
        upstream: ApiServer,
        session: aiohttp.ClientSession,
        forwarded: bool,
        expected: list[str],
    ) -> None:
        for fault in crash_at_write(3, forwarded=forwarded):
            proxy.inject(fault)
        outcomes: list[int | BaseException] = []
        for name in ("d1", "d2", "d3", "d4", "d5"):
            outcomes += await asyncio.gather(write(session, name), return_exceptions=True)
        assert [outcome == 201 for outcome in outcomes] == [True, True, False, False, False]
        assert [path.rsplit("/", 1)[1] for path in upstream.objects] == expected


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            pytest.param(
                answers.unauthorized(),
                {"message": "Unauthorized", "reason": "Unauthorized", "code": 401},
                id="401",
            ),
            pytest.param(
                answers.forbidden("u"),
                {
                    "message": 'deployments.apps "d1" is forbidden: User "u" cannot get resource '
                    '"deployments" in API group "apps" in the namespace "t1"',
                    "reason": "Forbidden",
                    "details": {"name": "d1", "group": "apps", "kind": "deployments"},
                    "code": 403,
                },
                id="403",
            ),
            pytest.param(
                answers.not_found(),
                {
                    "message": 'deployments.apps "d1" not found',
                    "reason": "NotFound",
                    "details": {"name": "d1", "group": "apps", "kind": "deployments"},
                    "code": 404,
                },
                id="404",
            ),
            pytest.param(
                answers.conflict(),
                {
                    "message": 'Operation cannot be fulfilled on deployments.apps "d1": the object '
                    "has been modified; please apply your changes to the latest version and "
                    "try again",
                    "reason": "Conflict",
                    "details": {"name": "d1", "group": "apps", "kind": "deployments"},
                    "code": 409,
                },
                id="409, a stale resourceVersion",
            ),
            pytest.param(
                answers.apply_conflict(),
                {
                    "message": 'Apply failed with 1 conflict: conflict with "a": .spec.replicas',
                    "reason": "Conflict",
                    "details": {
                        "causes": [
                            {
                                "reason": "FieldManagerConflict",
                                "message": 'conflict with "a"',
                                "field": ".spec.replicas",
                            }
                        ]
                    },
                    "code": 409,
                },
                id="409, another field manager",
            ),
            pytest.param(
                answers.namespace_terminating(),
                {
                    "message": 'deployments.apps "d1" is forbidden: unable to create new content '
                    "in namespace t1 because it is being terminated",
                    "reason": "Forbidden",
                    "details": {
                        "name": "d1",
                        "group": "apps",
                        "kind": "deployments",
                        "causes": [
                            {
                                "reason": "NamespaceTerminating",
                                "message": "namespace t1 is being terminated",
                                "field": "metadata.namespace",
                            }
                        ],
                    },
                    "code": 403,
                },
                id="403, a namespace that is going",
            ),
            pytest.param(
                answers.internal_error(),
                {
                    "message": 'Internal error occurred: failed calling webhook "w.ex.io": '
                    "failed to call webhook: connection refused",
                    "reason": "InternalError",
                    "details": {
                        "causes": [
                            {
                                "message": 'failed calling webhook "w.ex.io": '
                                "failed to call webhook: connection refused"
                            }
                        ]
                    },
                    "code": 500,
                },
                id="500",
            ),
            pytest.param(
                answers.unavailable(),
                {
                    "message": "the server is currently unable to handle the request",
                    "reason": "ServiceUnavailable",
                    "code": 503,
                },
                id="503",
            ),
        ],
    )
    async def test_a_refusal_is_the_status_object_of_a_real_one(
        self,
        proxy: FaultProxy,
        session: aiohttp.ClientSession,
        answer: Answer,
        expected: dict[str, Any],
    ) -> None:
        proxy.inject(Fault(answer))
        async with session.get(f"{DEPLOYMENTS}/d1") as refused:
            assert refused.status == answer.code
            assert refused.content_type == "application/json"
            assert await refused.json() == {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                **expected,
            }

    async def test_429_says_when_to_come_back(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        proxy.inject(Fault(answers.too_many_requests(retry_after_s=3)))
        async with session.get(PODS) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "3")
            assert (await refused.json())["details"] == {"retryAfterSeconds": 3}

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            pytest.param(answers.no_such_path(), "404 page not found\n", id="no such path"),
            pytest.param(
                answers.overloaded(),
                "Too many requests, please try again later.\n",
                id="priority and fairness",
            ),
        ],
    )
    async def test_some_refusals_are_plain_text(
        self, proxy: FaultProxy, session: aiohttp.ClientSession, answer: Answer, expected: str
    ) -> None:
        proxy.inject(Fault(answer))
        async with session.get(PODS) as refused:
            assert refused.content_type == "text/plain"
            assert await refused.text() == expected


class TestFaultsOfWatches:
    async def test_cut_breaks_the_open_stream(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        proxy.inject(Fault(Cut()))
        with pytest.raises(aiohttp.ClientError):
            await watch.next()
        await proxy.until(lambda: upstream.open_watches == 0, timeout_s=5)

    async def test_a_clean_cut_ends_the_stream_as_a_timeout_does(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        proxy.inject(Fault(Cut(clean=True)))
        assert await watch.next() is None

    async def test_cut_waits_for_a_stream_that_is_opened_later(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        number = proxy.inject(Fault(Cut(clean=True)))
        async with session.get(PODS, params={"watch": "true"}) as answer:
            assert await answer.content.read() == b""
        assert proxy.tally(number).fired == 1

    async def test_cut_leaves_the_streams_of_other_paths(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        pods = await watching()
        deployments = await watching(DEPLOYMENTS)
        proxy.inject(Fault(Cut(clean=True), path="/pods$", count=EVERY))
        assert await pods.next() is None
        upstream.say("ADDED", "a")
        assert await deployments.names(1) == ["a"]

    async def test_swallow_keeps_the_next_event_back(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        number = proxy.inject(Fault(Swallow()))
        for name in ("a", "b"):
            upstream.say("ADDED", name)
        assert await watch.names(1) == ["b"]
        assert proxy.tally(number).fired == 1

    async def test_swallow_can_choose_type_and_name(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        proxy.inject(Fault(Swallow("DELETED", name="^a$")))
        for kind, name in [("ADDED", "a"), ("DELETED", "b"), ("DELETED", "a"), ("DELETED", "a")]:
            upstream.say(kind, name)
        upstream.say("ADDED", "end")
        assert await watch.names(4) == ["a", "b", "a", "end"]

    async def test_bookmarks_are_not_swallowed_unasked(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        proxy.inject(Fault(Swallow()))
        upstream.say("BOOKMARK", "mark")
        assert await watch.names(1) == ["mark"]

    async def test_expire_says_410_in_the_stream_and_ends_it(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        proxy.inject(Fault(Expire()))
        assert await watch.next() == {
            "type": "ERROR",
            "object": {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": "too old resource version: 300 (809)",
                "reason": "Expired",
                "code": 410,
            },
        }
        assert await watch.next() is None

    async def test_a_gap_is_a_swallowed_event_and_then_410(
        self, proxy: FaultProxy, upstream: ApiServer, watching: Watching
    ) -> None:
        watch = await watching()
        gap = proxy.inject(Fault(Swallow("DELETED")))
        upstream.say("DELETED", "a")
        await proxy.until_fired(gap, timeout_s=5)
        proxy.inject(Fault(Expire()))
        event = await watch.next()
        assert event is not None
        assert event["type"] == "ERROR"


class TestWhichRequests:
    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            pytest.param(Fault(answers.unavailable()), [503, 200, 200], id="once by default"),
            pytest.param(Fault(answers.unavailable(), count=2), [503, 503, 200], id="twice"),
            pytest.param(Fault(answers.unavailable(), skip=1), [200, 503, 200], id="the second"),
            pytest.param(
                Fault(answers.unavailable(), duration_s=60), [503, 503, 503], id="for a minute"
            ),
            pytest.param(
                Fault(answers.unavailable(), duration_s=60, count=1),
                [503, 200, 200],
                id="once, within a minute",
            ),
            pytest.param(Fault(answers.unavailable(), count=EVERY), [503, 503, 503], id="always"),
            pytest.param(Fault(answers.unavailable(), verbs={"get"}), [200] * 3, id="a verb"),
            pytest.param(Fault(answers.unavailable(), path="/nodes"), [200] * 3, id="a path"),
            pytest.param(Fault(answers.unavailable(), query="a=1"), [200] * 3, id="a query"),
            pytest.param(
                Fault(answers.unavailable(), user_agent="^kopf/"), [200] * 3, id="a user agent"
            ),
            pytest.param(
                Fault(
                    answers.unavailable(),
                    verbs={"list"},
                    path="/pods$",
                    query="limit=500",
                    user_agent="^slipway-operator/",
                    count=EVERY,
                ),
                [503] * 3,
                id="all patterns together",
            ),
        ],
    )
    async def test_a_fault_strikes_what_it_names_as_often_as_it_says(
        self,
        proxy: FaultProxy,
        session: aiohttp.ClientSession,
        fault: Fault,
        expected: list[int],
    ) -> None:
        proxy.inject(fault)
        assert [await status_of(session, f"{PODS}?limit=500") for _ in range(3)] == expected

    async def test_a_fault_is_over_after_its_duration(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        proxy.inject(Fault(answers.unavailable(), duration_s=0.2))
        assert await status_of(session) == 503
        await asyncio.sleep(0.25)
        assert await status_of(session) == 200

    async def test_the_first_fault_that_matches_wins_until_it_is_used_up(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        proxy.inject(Fault(answers.unavailable()))
        proxy.inject(Fault(answers.unauthorized()))
        assert [await status_of(session) for _ in range(3)] == [503, 401, 200]

    async def test_clear_ends_every_fault(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        number = proxy.inject(Fault(answers.unavailable(), count=EVERY))
        assert await status_of(session) == 503
        proxy.clear()
        assert await status_of(session) == 200
        assert proxy.tally(number).fired == 1


class TestWhatWasSeen:
    async def test_every_request_is_told_with_its_end(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        number = proxy.inject(Fault(answers.conflict(), verbs={"patch"}))
        mark = proxy.mark()
        await status_of(session, f"{PODS}?limit=1")
        await write(session, "d1")
        told = [
            (seen.verb, seen.path, seen.query, seen.forwarded, seen.status, seen.fault)
            for seen in proxy.requests(after=mark)
        ]
        assert told == [
            ("list", PODS, "limit=1", True, 200, None),
            ("patch", f"{DEPLOYMENTS}/d1", "", False, 409, number),
        ]
        agents = {seen.user_agent for seen in proxy.requests(after=mark)}
        assert agents == {"slipway-operator/1"}

    async def test_writes_are_counted_apart_and_since_a_mark(
        self, proxy: FaultProxy, session: aiohttp.ClientSession
    ) -> None:
        start = proxy.mark()
        await write(session, "d1")
        mark = proxy.mark()
        await status_of(session)
        await write(session, "d2")
        assert len(proxy.requests(verbs=WRITES, after=start)) == 2
        assert [seen.path for seen in proxy.requests(verbs=WRITES, after=mark)] == [
            f"{DEPLOYMENTS}/d2"
        ]
        assert proxy.requests(verbs=WRITES, path="/leases/") == []


class TestTheProcess:
    def test_ends_with_the_block(self, upstream: ApiServer, tmp_path: Path) -> None:
        with FaultProxy(upstream.write_kubeconfig(tmp_path / "kubeconfig")) as proxy:
            pass
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(proxy.url)

    def test_a_kubeconfig_that_it_cannot_read_is_an_error_at_once(self, tmp_path: Path) -> None:
        broken = tmp_path / "kubeconfig"
        broken.write_text("{}")
        with pytest.raises(FaultProxyError, match="contexts"), FaultProxy(broken):
            pass

    async def test_a_condition_that_never_holds_times_out(self, proxy: FaultProxy) -> None:
        with pytest.raises(TimeoutError):
            await proxy.until(lambda: False, timeout_s=0.05)

    def test_a_fault_with_a_broken_pattern_is_refused_where_it_is_made(self) -> None:
        with pytest.raises(Exception, match="unterminated"):
            Fault(Refuse(), path="[")
