"""A TCP proxy before a broker that can be told to be a bad network.

The broker has to name the proxy's port as its own (`advertised.listeners`), or clients go round it.
"""

import asyncio
import contextlib
import math
import socket
import struct
from collections.abc import Coroutine
from threading import Thread
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

T = TypeVar("T")

Cut: TypeAlias = Literal["reset", "no answer", "half-open"]
"""`reset`: RST in the middle of what is sent next. `no answer`: requests go through, their answers are lost, then RST.
`half-open`: nothing goes through any more, and nobody is told."""

_CHUNK: Final = 65_536
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class _Line:
    """The line to the broker, which all connections share."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free = 0.0

    async def take(self, size: int) -> None:
        """Wait until so many bytes are through."""
        now = asyncio.get_running_loop().time()
        self._free = max(self._free, now) + size / self._bytes_per_second
        if self._free > now:
            await asyncio.sleep(self._free - now)


class _Connection:
    """A client's connection and ours to the broker."""

    def __init__(self, client: asyncio.StreamWriter, broker: asyncio.StreamWriter, line: "_Line") -> None:
        self._writers = (client, broker)
        self._line = line
        self.cut: Cut | None = None
        self.bytes = 0

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction."""
        answers = writer is self._writers[0]
        try:
            while chunk := await reader.read(_CHUNK):
                self.bytes += len(chunk)
                if self.cut == "reset":
                    writer.write(chunk[: len(chunk) // 2])
                    await asyncio.wait_for(writer.drain(), 1.0)
                    break
                if self.cut == "half-open" or (self.cut == "no answer" and answers):
                    continue
                if not answers:
                    await self._line.take(len(chunk))
                writer.write(chunk)
                await writer.drain()
        except (OSError, TimeoutError):
            pass
        self.reset()

    def reset(self) -> None:
        """End both ends with a RST."""
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            writer.transport.abort()


class Proxy:
    """Passes connections to a port of 127.0.0.1 on, from `with` to its end, in a thread of its own.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, port: int, target: int, *, bytes_per_second: float = math.inf) -> None:
        """Listen on nothing yet.

        Args:
            port: Where to listen.
            target: Where to pass on to.
            bytes_per_second: How much goes to the broker, of all connections together; answers are as fast as ever.
        """
        self.port = port
        self._line = _Line(bytes_per_second)
        self._target = target
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all connections."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, how: Cut, seconds: float) -> int:
        """Cut all connections there are.

        Args:
            how: In which way.
            seconds: How long answers are lost, or nothing goes through, before the connections are reset.

        Returns:
            How many of them carried something meanwhile.
        """
        return self._call(self._cut(how, seconds))

    async def _cut(self, how: Cut, seconds: float) -> int:
        chosen = {connection: connection.bytes for connection in self._connections}
        for connection in chosen:
            connection.cut = how
        await asyncio.sleep(seconds)
        for connection in chosen:
            connection.reset()
        return sum(connection.bytes > before for connection, before in chosen.items())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, to_broker, self._line)
        self._connections.add(connection)
        await asyncio.gather(connection.pump(reader, to_broker), connection.pump(from_broker, writer))
        self._connections.discard(connection)

    async def _end(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
