"""A server on loopback for the time of a test."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serve(
    command: list[str], port: int, log: pathlib.Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Runs a server from when it listens until the block ends.

    Args:
        command: the server, in the foreground.
        port: where it listens.
        log: what it writes goes there.
        environment: of the server; default: this process's.

    Raises:
        AssertionError: it ended, or does not listen after 30 seconds; with what it wrote.
    """
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            with (
                contextlib.suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", port)),
            ):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"{command[0]} does not listen on port {port}:\n{log.read_text()}")
        yield
    finally:
        process.terminate()
        process.wait()
