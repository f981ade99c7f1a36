"""Sessions of the command sandbox pinfold.

A :class:`Client` talks to ``pinfold serve``, over the pipes of a server of its own or over a
unix socket. A :class:`Session` is a sandbox that stays; a :class:`Process` is a command in it.
"""

from ._client import (
    Allow,
    Chunk,
    Client,
    Completed,
    ConfigurationError,
    Denial,
    Ended,
    Entry,
    LimitError,
    NotFoundError,
    PinfoldError,
    Process,
    ProgramError,
    RefusedError,
    Session,
)

__all__ = [
    "Allow",
    "Chunk",
    "Client",
    "Completed",
    "ConfigurationError",
    "Denial",
    "Ended",
    "Entry",
    "LimitError",
    "NotFoundError",
    "PinfoldError",
    "Process",
    "ProgramError",
    "RefusedError",
    "Session",
]
