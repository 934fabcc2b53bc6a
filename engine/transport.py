"""The one file that imports aiohttp's client: it sends a request to one origin and tells what it knows of the exchange.

Facts it rests on (aiohttp 3.11–3.14): `ClientTimeout(total)` raises plain `TimeoutError` before connecting and after
execution alike, so it is the connector that tells what was never sent: what it has given no connection to; `repr` of a
`ClientResponseError` contains the request's headers, so no exception of aiohttp leaves this file; a redirect would turn
POST into GET and carry our header to another origin, so none is followed; before 3.13.3 (CVE-2025-69223) a chunk was
inflated whole, whatever its size, so we inflate ourselves.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache

import aiohttp
import anyio
from aiohttp.tracing import Trace
from yarl import URL

from .exchange import Reply, Request
from .redact import Redactor

# In bytes after inflating: a 0.3 MB gzip body can inflate to 300 MiB. A page of 100 results has about 0.1 MB.
MAX_BODY = 24 * 1024 * 1024
MAX_BODIES = 40 * 1024 * 1024  # of all answers being read at one time; with the copy of one it stays below 64 MiB
MAX_VALUES = 500_000  # in one answer: decoded, each takes some 70 bytes, “{},” too
_SMALL = 2 * 1024 * 1024  # bytes, in which there cannot be as many values as would matter
_PIECE = 64 * 1024
_PATHS = 64  # whose URLs are kept: those of lists and of what is sent in bulk
Leave = Callable[[], Awaitable[bool]]
_READ = ("retry-after", "date")  # the headers of an answer that anybody reads


class WithheldError(Exception):
    """It was not sent after all."""


class Transport:
    """Sends requests to one origin with one set of headers. Made by `connect`."""

    def __init__(
        self, session: aiohttp.ClientSession, origin: URL, secrets: Mapping[str, str], timeout_s: float
    ) -> None:
        """`secrets` are headers that go to `origin` and nowhere else; `timeout_s` covers one exchange from end to end."""
        self._session = session
        self._headers = dict(secrets)
        self._headers_of_json = {"Content-Type": "application/json", **secrets}
        self._url = lru_cache(_PATHS)(lambda path: origin.join(URL(path)))
        self._redactor = Redactor(secrets.values())
        self._reading = 0  # bytes of the answers that are being read now
        self._timeout_s = timeout_s

    async def send(self, request: Request, leave: Leave | None = None) -> Reply:
        """Send once. Never raises for what the network or the service does: that is in the reply.

        `leave` is awaited when there is a connection and all that is left is to write to it. Raises WithheldError when
        it says no: then nothing was sent.
        """
        seen = _Seen(leave)
        try:
            return self._clean(seen, await self._exchange(request, seen))
        except TimeoutError:
            failure = f"no answer within {self._timeout_s:g} s" if seen.sent else "connecting timed out"
        except aiohttp.ClientConnectorCertificateError as error:
            failure = f"{error.host}:{error.port}: its certificate cannot be trusted"
        except aiohttp.ClientConnectorError as error:
            failure = f"{error.host}:{error.port}: {_os_reason(error)}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = _reason(error)
        return self._clean(seen, failure=failure)

    async def _exchange(self, request: Request, seen: _Seen) -> bytes:
        headers = self._headers if request.body is None else self._headers_of_json
        _under_way.set(seen)
        # Not `asyncio.timeout`: it lets a cancellation that comes in the same instant out of its scope.
        with anyio.move_on_after(self._timeout_s) as seen.limit:
            async with self._session.request(
                request.method,
                self._url(request.path),
                params=request.query,
                data=request.body,
                headers={**headers, **request.headers, **self._headers} if request.headers else headers,
                allow_redirects=False,
            ) as response:
                seen.sent, seen.status, seen.headers = True, response.status, response.headers
                return await self._read(response)
        raise TimeoutError

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body: bytes | bytearray = b""
        inflater = _inflater(response.headers.get("Content-Encoding", ""))
        try:
            async for piece in response.content.iter_any():
                for part in _inflated(piece, inflater):
                    if len(body) + len(part) > MAX_BODY or self._reading + len(part) > MAX_BODIES:
                        raise ValueError(f"the answer is larger than {MAX_BODY >> 20} MiB")
                    body = _longer(body, part)
                    self._reading += len(part)
        finally:
            self._reading -= len(body)
        if inflater and body and not inflater.eof:
            raise ValueError("the answer broke off")
        if len(body) > _SMALL and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise ValueError(f"the answer holds more than {MAX_VALUES:,} values")
        return bytes(body)

    def _clean(self, seen: _Seen, body: bytes = b"", failure: str | None = None) -> Reply:
        """The reply without our secrets: a service may repeat them in an error, and errors are kept and shown."""
        text = self._redactor.text
        headers = {name: text(seen.headers[name]) for name in _READ if name in seen.headers}
        return Reply(seen.status, headers, self._redactor.data(body), seen.sent, failure and text(failure))


@dataclass(slots=True)
class _Seen:
    """What was seen of one exchange so far."""

    leave: Leave | None
    limit: anyio.CancelScope | None = None  # of its time
    sent: bool = False  # its headers, perhaps: it has got a connection, and may leave
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def may_leave(self) -> bool:
        """Wait until it may leave, which is no part of its time; False if it may not."""
        began = anyio.current_time()
        leaves = self.leave is None or await self.leave()
        if (waited_s := anyio.current_time() - began) and self.limit:
            self.limit.deadline += waited_s
        return leaves


_under_way: ContextVar[_Seen] = ContextVar("_under_way")  # the exchange of this task


class _Connector(aiohttp.TCPConnector):
    """Gives a request its connection when it may leave, and notes that it goes out: aiohttp writes to it at once.

    aiohttp's tracing tells the same by its signal `on_request_headers_sent`, at a tenth of what a whole request costs.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's word
    ) -> aiohttp.connector.Connection:
        """See aiohttp."""
        connection = await super().connect(req, traces, timeout)
        seen = _under_way.get()
        try:
            leaves = await seen.may_leave()
            seen.sent = leaves and connection.protocol is not None and connection.protocol.is_connected()
        finally:
            if not seen.sent:
                connection.release()  # nothing was written to it
        if not leaves:
            raise WithheldError
        if not seen.sent:
            raise aiohttp.ServerDisconnectedError
        return connection


@asynccontextmanager
async def connect(
    origin: str, secrets: Mapping[str, str], *, connections: int, timeout_s: float
) -> AsyncIterator[Transport]:
    """Open a pool of at most `connections` connections to `origin`; closed on leaving. Raises ValueError for no address.

    `origin` may be a whole address, with path and query: it is what a request of the path "" goes to.
    """
    async with aiohttp.ClientSession(
        connector=_Connector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "rebatch"},
        auto_decompress=False,
    ) as session:
        # aiohttp sends a GET again by itself, past the gate and the books; there is no public switch.
        session._retry_connection = False  # noqa: SLF001
        yield Transport(session, URL(origin), secrets, timeout_s)


def _inflater(encoding: str) -> zlib._Decompress | None:
    """What inflates a body of this encoding; None for one that is as it is. Raises ValueError for what we did not ask for."""
    named = encoding.strip().lower()
    if named in {"", "identity"}:
        return None
    if named != "gzip":
        raise ValueError("the answer is compressed in a way that we did not ask for")
    return zlib.decompressobj(wbits=31)


def _inflated(piece: bytes, inflater: zlib._Decompress | None) -> Iterator[bytes]:
    """A piece of a body in parts of at most `_PIECE` bytes, however much it inflates to."""
    if inflater is None:
        yield piece
        return
    try:
        while piece and not inflater.eof:
            yield inflater.decompress(piece, _PIECE)
            piece = inflater.unconsumed_tail
    except zlib.error:
        raise ValueError("the answer is damaged: it cannot be inflated") from None


def _longer(body: bytes | bytearray, part: bytes) -> bytes | bytearray:
    """A body with one more part. Most have one only, which is not copied; of many, each may be a single byte."""
    if not body:
        return part
    longer = body if isinstance(body, bytearray) else bytearray(body)
    longer += part
    return longer


def _os_reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name not known"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no TLS connection"
    return _system(error.os_error)


def _system(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__


def _reason(error: Exception) -> str:
    """Words that cannot contain a header: only types and the messages of our own and of the operating system."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the service closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP as it should be"
    if isinstance(error, OSError):
        return _system(error)
    return str(error) if type(error) is ValueError else type(error).__name__
