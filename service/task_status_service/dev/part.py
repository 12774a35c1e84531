"""One process of `task-status dev`, whose output lines are printed with its name."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import click

STOP_SECONDS: Final = 15.0

_COLOURS: Final = {"redis": "red", "worker": "green", "api": "cyan"}
#: linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1


class Part:
    """A process that can be restarted, such as the worker after a change of its code."""

    def __init__(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], on_exit: Callable[[str, int], None]
    ) -> None:
        """Prepare the process; `on_exit` receives its name and exit code if it ends without `stop`."""
        self.name = name
        self._command = command
        self._environ = {**environ, "PYTHONUNBUFFERED": "1"}
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._relay: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start the process, and print its output until it ends."""
        self._stopping = False
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environ,
            # Ctrl-C in the terminal must reach the supervisor only, which stops the parts in their order.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        self._relay = asyncio.create_task(self._print_output(self._process))

    async def stop(self) -> None:
        """Stop the process; after STOP_SECONDS kill it. Its children are killed too."""
        if self._process is None or self._relay is None:
            return
        self._stopping = True
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        # The rest of its process group, such as the children of a killed worker.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._relay.cancel()

    async def restart(self) -> None:
        """Stop the process and start it again."""
        await self.stop()
        await self.start()

    async def _print_output(self, process: asyncio.subprocess.Process) -> None:
        output = process.stdout
        assert output is not None  # noqa: S101 - it is a pipe
        async for line in _lines(output):
            click.echo(f"{label(self.name)} {line.decode(errors='replace').rstrip()}")
        code = await process.wait()
        if not self._stopping:
            self._on_exit(self.name, code)


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield each line; a line above the reader's limit comes in pieces, so that the process never blocks on output."""
    while not output.at_eof():
        try:
            yield await output.readuntil()
        except asyncio.LimitOverrunError as error:
            yield await output.readexactly(error.consumed)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                yield error.partial


def label(name: str) -> str:
    """Return the coloured start of a part's lines."""
    return click.style(f"{name:<6} |", fg=_COLOURS[name])


def _end_with_parent() -> None:
    """Have the kernel end this process when the supervisor is killed; only Linux can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
