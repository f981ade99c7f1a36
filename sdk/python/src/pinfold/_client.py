from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

_LONGEST = 16 * 1024 * 1024
"""The longest line that is read, in bytes; the server's are shorter."""

_UNREAD = 4 * 1024 * 1024
"""Output of one process that is kept until it is read, in bytes."""


class PinfoldError(Exception):
    """The server refuses a request.

    ``code`` is the number of the protocol; ``hint`` says what to do, where there is something.
    """

    def __init__(self, code: int, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} ({hint})")
        self.code = code
        self.message = message
        self.hint = hint


class NotFoundError(PinfoldError):
    """There is no such session or process."""


class RefusedError(PinfoldError):
    """The profile refuses it."""


class ConfigurationError(PinfoldError):
    """The configuration is wrong, or the host cannot enforce it."""


class LimitError(PinfoldError):
    """A limit of the server is reached."""


class ProgramError(PinfoldError):
    """The program cannot be executed."""


_ERRORS: dict[int, type[PinfoldError]] = {
    -32001: NotFoundError,
    -32003: RefusedError,
    -32004: ConfigurationError,
    -32005: LimitError,
    -32007: ProgramError,
}


def _error(error: Mapping[str, Any]) -> PinfoldError:
    code = int(error["code"])
    hint = error.get("data", {}).get("hint")
    return _ERRORS.get(code, PinfoldError)(code, str(error["message"]), hint)


@dataclass(frozen=True)
class Chunk:
    """A piece of output; ``stream`` is ``stdout``, ``stderr`` or ``terminal``."""

    sequence: int
    stream: str
    data: bytes


@dataclass(frozen=True)
class Allow:
    """The smallest rule that would allow something, as an option of ``pinfold run``."""

    option: str
    value: str

    @property
    def parameter(self) -> str:
        """The list of :meth:`Client.start_session` that takes the value."""
        return "unix_sockets" if self.option == "allow-unix-socket" else self.option


@dataclass(frozen=True)
class Denial:
    """What the sandbox refused, though the user could have done it outside.

    ``kind`` is ``path``, ``socket`` or ``host``. ``narrower`` is what ``--write`` can open alone
    once there is something, where ``allow`` opens much more; ``secret`` marks places where credentials are
    kept, which no program should open by itself.
    """

    sequence: int
    process: str | None
    program: str | None
    attempted: str
    kind: str
    target: str
    count: int
    rule: str
    origin: str | None
    allow: Allow | None
    narrower: str | None
    secret: bool


def _denials(given: Sequence[Mapping[str, Any]]) -> tuple[Denial, ...]:
    def denial(one: Mapping[str, Any]) -> Denial:
        allow = one["allow"]
        return Denial(
            sequence=one["seq"],
            allow=None if allow is None else Allow(allow["option"], allow["value"]),
            **{
                name: one[name]
                for name in (
                    "process",
                    "program",
                    "attempted",
                    "kind",
                    "target",
                    "count",
                    "rule",
                    "origin",
                    "narrower",
                    "secret",
                )
            },
        )

    return tuple(denial(one) for one in given)


@dataclass(frozen=True)
class Ended:
    """How a process ended. ``code`` mirrors a death by signal *n* as 128 + *n*."""

    code: int
    signal: int | None
    denials: tuple[Denial, ...] = ()


@dataclass(frozen=True)
class Completed:
    """A command that has ended, with all it wrote."""

    code: int
    stdout: bytes
    stderr: bytes
    denials: tuple[Denial, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A name in a directory; ``kind`` is ``file``, ``directory``, ``link`` or ``other``."""

    name: str
    kind: str
    size: int


def _program() -> str:
    beside = os.path.join(os.path.dirname(sys.executable), "pinfold")
    found = os.environ.get("PINFOLD_PROGRAM") or shutil.which("pinfold")
    if found is not None:
        return found
    if os.access(beside, os.X_OK):
        return beside
    raise FileNotFoundError("the program pinfold is not installed; set PINFOLD_PROGRAM to it")


class Client:
    """A connection to ``pinfold serve``."""

    def __init__(self, command: Sequence[str] | None, socket: str | None) -> None:
        self._command = command
        self._socket = socket
        self._server: asyncio.subprocess.Process | None = None
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._processes: dict[str, Process] = {}
        self._early: dict[str, list[dict[str, Any]]] = {}
        self._lost = False
        self.limits: dict[str, int] = {}

    @classmethod
    def start(cls, program: str | None = None) -> Client:
        """A server of its own, which ends with this client."""
        return cls([program or _program(), "serve"], None)

    @classmethod
    def connect(cls, socket: str) -> Client:
        """The server that listens on a unix socket."""
        return cls(None, socket)

    async def __aenter__(self) -> Client:
        if self._command is not None:
            pipe = asyncio.subprocess.PIPE
            self._server = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, limit=_LONGEST
            )
            assert self._server.stdin is not None and self._server.stdout is not None
            self._writer, self._reader = self._server.stdin, self._server.stdout
        else:
            assert self._socket is not None
            self._reader, self._writer = await asyncio.open_unix_connection(
                self._socket, limit=_LONGEST
            )
        self._listening = asyncio.create_task(self._listen())
        answer = await self.call("initialize", protocol=1, client={"name": "pinfold-python"})
        self.limits = answer["limits"]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and the server if it is this client's own."""
        for process in self._processes.values():
            process._room.set()
        self._writer.close()
        if self._server is not None:
            await self._server.wait()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def call(self, method: str, **parameters: Any) -> Any:
        """One request of the protocol; its result."""
        if self._lost:
            raise ConnectionError("the server has ended")
        self._last += 1
        given = {name: value for name, value in parameters.items() if value is not None}
        request = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": given}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = answer
        for process in self._processes.values():
            process._room.set()
        self._writer.write(json.dumps(request).encode() + b"\n")
        await self._writer.drain()
        return await answer

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                await self._receive(json.loads(line))
        except (OSError, ValueError):
            pass
        self._lost = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the server has ended"))
        for process in self._processes.values():
            process._finish(None)

    async def _receive(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            answer = self._waiting.pop(message.get("id") or 0, None)
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(_error(message["error"]))
            else:
                answer.set_result(message["result"])
            return
        parameters = message["params"]
        name = parameters.get("process")
        if name is None:
            return
        process = self._processes.get(name)
        if process is None:
            # Its start has been answered, but nobody has been woken yet.
            self._early.setdefault(name, []).append(message)
        else:
            await process._receive(message["method"], parameters)

    async def _adopt(self, name: str) -> Process:
        process = Process(self, name)
        for message in self._early.pop(name, []):
            await process._receive(message["method"], message["params"])
        self._processes[name] = process
        return process

    async def start_session(
        self,
        *,
        name: str | None = None,
        profile: str | None = None,
        directory: str | None = None,
        settings: Sequence[str] = (),
        read: Sequence[str] = (),
        write: Sequence[str] = (),
        deny: Sequence[str] = (),
        net: Sequence[str] = (),
        environment: Sequence[str] = (),
        allow_gaps: Sequence[str] = (),
        unix_sockets: Sequence[str] = (),
        denials: str | None = None,
        keep: bool = False,
    ) -> Session:
        """Starts a session; the lists are as the options of ``pinfold run``.

        ``denials`` says how closely refusals are looked for: ``off``, ``cheap``, ``writes``,
        ``opens`` or ``all``.
        """
        described = await self.call(
            "session/start",
            name=name,
            profile=profile,
            directory=directory,
            settings=list(settings),
            read=list(read),
            write=list(write),
            deny=list(deny),
            net=list(net),
            environment=list(environment),
            allow_gaps=list(allow_gaps),
            unix_sockets=list(unix_sockets),
            denials=denials,
            keep=keep,
        )
        return Session(self, described)

    async def attach_session(self, session: str) -> Session:
        """Comes (back) to a session, by its name or identifier."""
        return Session(self, await self.call("session/attach", session=session))

    async def list_sessions(self) -> list[dict[str, Any]]:
        """What sessions there are."""
        sessions: list[dict[str, Any]] = (await self.call("session/list"))["sessions"]
        return sessions


class Session:
    """A sandbox that stays."""

    def __init__(self, client: Client, described: Mapping[str, Any]) -> None:
        self._client = client
        self.session: str = described["session"]
        self.name: str = described["name"]
        self.profile: str = described["profile"]
        self.directory: str = described["directory"]
        self.gaps: list[dict[str, str]] = described["gaps"]

    async def start(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
        terminal: tuple[int, int] | None = None,
        stdin: bool = True,
    ) -> Process:
        """Starts a command; ``terminal`` is rows and columns of one of its own."""
        size = None if terminal is None else {"rows": terminal[0], "columns": terminal[1]}
        answer = await self._client.call(
            "process/start",
            session=self.session,
            command=list(command),
            directory=directory,
            environment=dict(environment or {}),
            terminal=size,
            stdin=stdin,
        )
        return await self._client._adopt(answer["process"])

    async def run(
        self,
        command: Sequence[str],
        *,
        input: bytes | None = None,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """Runs a command to its end and collects what it writes."""
        process = await self.start(
            command, directory=directory, environment=environment, stdin=input is not None
        )
        sending = asyncio.create_task(process._send(input)) if input is not None else None
        streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        async for chunk in process.output():
            streams[chunk.stream].append(chunk.data)
        if sending is not None:
            await asyncio.gather(sending, return_exceptions=True)
        ended = await process.wait()
        stdout, stderr = b"".join(streams["stdout"]), b"".join(streams["stderr"])
        return Completed(ended.code, stdout, stderr, ended.denials)

    async def attach(self, process: str, after: int = 0) -> Process:
        """Comes (back) to a process, and to its output after a chunk."""
        attached = await self._client._adopt(process)
        await self._client.call("process/attach", process=process, after=after)
        return attached

    async def explain(self, thing: str) -> str:
        """The verdict for a path, URL, host or variable, as ``pinfold explain`` has it."""
        answer = await self._client.call("session/explain", session=self.session, thing=thing)
        return str(answer["text"])

    async def denials(
        self, process: str | None = None, since: int = 0
    ) -> tuple[Denial, ...]:
        """What was refused, in order: to one process or to all, from a sequence number on."""
        parameters = {"session": self.session, "process": process, "from": since}
        answer = await self._client.call("session/denials", **parameters)
        return _denials(answer["denials"])

    async def read_file(self, path: str) -> bytes:
        """A whole file, as a command of the session sees it."""
        pieces: list[bytes] = []
        offset = 0
        while True:
            answer = await self._client.call(
                "file/read", session=self.session, path=path, offset=offset
            )
            piece = base64.b64decode(answer["data"])
            pieces.append(piece)
            offset += len(piece)
            if answer["end"] or not piece:
                return b"".join(pieces)

    async def write_file(self, path: str, data: bytes, how: str = "replace") -> None:
        """Writes a file as a command of the session: ``replace``, ``create`` or ``append``."""
        text = base64.b64encode(data).decode()
        await self._client.call(
            "file/write", session=self.session, path=path, data=text, how=how
        )

    async def list_files(self, path: str = ".") -> list[Entry]:
        """The names in a directory."""
        answer = await self._client.call("file/list", session=self.session, path=path)
        return [Entry(entry["name"], entry["kind"], entry["size"]) for entry in answer["entries"]]

    async def stop(self) -> None:
        """Ends the session and everything in it."""
        await self._client.call("session/stop", session=self.session)


class Process:
    """A command in a session."""

    def __init__(self, client: Client, process: str) -> None:
        self._client = client
        self.process = process
        self._chunks: deque[Chunk] = deque()
        self._unread = 0
        self._ended: Ended | None = None
        self._over = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def _receive(self, method: str, parameters: Mapping[str, Any]) -> None:
        if method == "process/output":
            data = base64.b64decode(parameters["data"])
            self._chunks.append(Chunk(parameters["sequence"], parameters["stream"], data))
            self._unread += len(data)
            self._news.set()
            # Whoever waits for an answer must get it: then more is kept.
            while self._unread > _UNREAD and not self._client._waiting:
                self._room.clear()
                await self._room.wait()
        elif method == "process/ended":
            status = parameters["status"]
            denials = _denials(parameters.get("denials", ()))
            self._finish(Ended(parameters["code"], status.get("signaled"), denials))

    def _finish(self, ended: Ended | None) -> None:
        self._ended = self._ended or ended
        self._over = True
        self._news.set()
        self._client._processes.pop(self.process, None) if ended else None

    async def output(self) -> AsyncIterator[Chunk]:
        """What the process writes, until it has ended and all is read."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._unread -= len(chunk.data)
                if self._unread <= _UNREAD:
                    self._room.set()
                yield chunk
            if self._over:
                return
            self._news.clear()
            await self._news.wait()

    async def wait(self) -> Ended:
        """Waits for its end. Of output that nobody reads, the newest 4 MiB are kept."""
        while not self._over:
            while self._unread > _UNREAD:
                # Nobody reads it: the oldest is given up.
                self._unread -= len(self._chunks.popleft().data)
                self._room.set()
            self._news.clear()
            await self._news.wait()
        if self._ended is None:
            raise ConnectionError("the server has ended")
        return self._ended

    async def write(self, data: bytes) -> None:
        """Writes to its standard input or terminal; returns when it is written."""
        text = base64.b64encode(data).decode()
        await self._client.call("process/write", process=self.process, data=text)

    async def _send(self, data: bytes) -> None:
        for start in range(0, len(data), 256 * 1024):
            await self.write(data[start : start + 256 * 1024])
        await self.close_stdin()

    async def close_stdin(self) -> None:
        """Ends its standard input."""
        await self._client.call("process/close_stdin", process=self.process)

    async def resize(self, rows: int, columns: int) -> None:
        """Changes the size of its terminal."""
        await self._client.call(
            "process/resize", process=self.process, rows=rows, columns=columns
        )

    async def signal(self, signal: str) -> None:
        """Sends a signal, by name, to its process group."""
        await self._client.call("process/signal", process=self.process, signal=signal)

    async def terminate(self, grace: float = 5.0) -> None:
        """Ends it and its descendants; kills what has not ended after ``grace`` seconds."""
        await self._client.call("process/terminate", process=self.process, grace=grace)
