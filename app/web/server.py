"""The process that serves: its socket, its limits and signals, and uvicorn with an end that loses no request.

SIGTERM   /health/ready answers 503 while requests are still taken (`drain_s`), then no more are. Requests under way
          are answered (`grace_s`), and the exit code is 0. SIGINT does the same without the first part.
SIGHUP    loads the model again, by then its newest version.
"""

import asyncio
import ctypes
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ..audio.worker import CORE_BYTES
from ..errors import SettingsInvalid
from ..service import Service
from ..settings import Settings
from .addresses import is_loopback
from .connection import Connection


def check_exposure(settings: Settings, address: str) -> None:
    """Raises SettingsInvalid where other machines could reach a service without keys and no setting allows that.

    `address` is the IP address that its socket is bound to. `without_keys=anyone` allows it, but never together with
    `admin`.
    """
    if settings.keys_file is not None or is_loopback(address):
        return
    where = settings.host or "every address"
    if settings.without_keys == "loopback":
        raise SettingsInvalid(
            f"On {where} other machines can reach the service, and it has no keys. Make one with `maeum key NAME` and "
            "name its file in MAEUM_KEYS_FILE, or let anyone in with MAEUM_WITHOUT_KEYS=anyone."
        )
    if settings.admin:
        raise SettingsInvalid(
            f"On {where} anyone could exchange the model: MAEUM_ADMIN needs keys there. Make one with "
            "`maeum key NAME --admin` and name its file in MAEUM_KEYS_FILE."
        )


# Those of the idle service and of a few connections; and a decoder's pipes.
_OWN_FILES, _DECODER_FILES = 48, 3


def prepare_process(settings: Settings) -> None:
    """Handles signals until the server does, raises the limit on open files (a connection takes one) and forbids core
    dumps, which would hold people's audio and transcripts.

    SIGTERM ends the process with 0, SIGHUP is ignored. Raises SettingsInvalid where too few files may be open.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sys.platform != "win32":
        import resource

        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):  # some systems refuse the limit that they report
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        needed = _OWN_FILES + _DECODER_FILES * settings.decoders
        if most != resource.RLIM_INFINITY and most < needed:
            raise SettingsInvalid(
                f"At most {most} files may be open, and the service needs {needed} with MAEUM_DECODERS="
                f"{settings.decoders}. Raise the limit (`ulimit -n`)."
            )
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        most = CORE_BYTES if most == resource.RLIM_INFINITY else min(CORE_BYTES, most)
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def listen(settings: Settings) -> socket.socket:
    """A socket that listens at `host` and `port` of the settings; `::` takes IPv4 too, where the system has both.

    Raises SettingsInvalid where none can listen there, or none may (`check_exposure`).
    """
    where = f"{settings.host or 'every address'} port {settings.port}"
    try:
        found = socket.getaddrinfo(
            settings.host or "0.0.0.0", settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)  # of both, IPv4
    except OSError as error:
        raise SettingsInvalid(f"Cannot listen on {where}: {error.strerror}. Try another --host.") from error
    except (ValueError, TypeError) as error:  # for text that cannot be a name
        raise SettingsInvalid(f"Cannot listen on {where}: this is no name. Try another --host.") from error
    both = address[0] == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server(address, family=family, dualstack_ipv6=both)
    except OSError as error:
        raise SettingsInvalid(f"Cannot listen on {where}: {error.strerror}. Try another --host or --port.") from error
    try:
        check_exposure(settings, listener.getsockname()[0])
    except SettingsInvalid:
        listener.close()
        raise
    # Accepted connections inherit it. Without it an answer may wait 40 ms for the client to confirm its first half.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _refuse_new(listener: socket.socket) -> bool:
    """Makes the system ignore attempts at new connections while it keeps those that it has; False where it cannot.

    Between the last accept and the close of a listener it would make more of them, and the close would break these
    after their clients had sent a request. Neither a smaller backlog nor a shutdown of the listener helps: the one
    drops the last step of a handshake that its client holds for complete, the other breaks the queue. So a filter drops
    packets with the flag SYN, the first of each connection; its client tries again, and then finds the listener closed.
    """
    if sys.platform != "linux":
        return False
    program = (_Instruction * len(_NO_SYN))(*(_Instruction(*each) for each in _NO_SYN))
    with suppress(OSError):  # as where the system is an emulation
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
        )
        return True
    return False


class _Instruction(ctypes.Structure):
    """One of the classic BPF, `struct sock_filter`."""

    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


_SO_ATTACH_FILTER = 26
# Load the byte of a TCP header that has the flags; where SYN is among them, take nothing of the packet, else all.
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
# In which handshakes that have begun come to their end: a round trip.
_LAST_HANDSHAKE_S = 0.25


class Server(uvicorn.Server):
    """Serves `app` on listening sockets until a signal stops it."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._service: Service = app.state.service
        self._drain_s = settings.drain_s
        self._connection = partial(
            Connection,
            header_timeout_s=settings.header_timeout_s,
            draining=lambda: self._service.draining,
            refused=self._service.metrics.rejected,
            door=app.state.door,
        )
        super().__init__(
            uvicorn.Config(
                app,
                http=self._connection,  # type: ignore[arg-type] # called with the protocol's arguments
                ws="none",
                proxy_headers=bool(settings.forwarded_allow_ips.strip()),
                forwarded_allow_ips=settings.forwarded_allow_ips,
                log_config=None,  # `app.telemetry.logs` sets logging up, and `app.web.observe` logs requests
                access_log=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=settings.grace_s,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():  # elsewhere there are no signals
            self._loop.add_signal_handler(signal.SIGHUP, self._service.reload_soon)
        await super().startup(sockets)  # begins to load the model

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            await self._take_last(listener)
        await super().shutdown(sockets)

    async def _take_last(self, listener: socket.socket) -> None:
        """Accepts connections that the system has already made; closing the listener would break them."""
        if _refuse_new(listener):
            await asyncio.sleep(_LAST_HANDSHAKE_S)
        else:
            listener.listen(0)
        protocol = partial(
            self._connection, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # no more connections, or no file left for one
                return
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(protocol, connection)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first, self._service.draining = not self._service.draining, True
        if sig == signal.SIGTERM and first and self.started:
            self._loop.call_soon_threadsafe(self._drain)
            return
        super().handle_exit(sig, frame)
        if sig == signal.SIGTERM:
            self._captured_signals.remove(sig)  # else it is raised again at the end, as a failure

    def _drain(self) -> None:
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.end_after_answers()
        self._loop.call_later(self._drain_s, setattr, self, "should_exit", True)
