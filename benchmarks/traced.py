"""An agent that says which of its files a request passes.

    python benchmarks/traced.py REPORT PATH agent --config FILE

The profiler sees each call. A context variable, which the tasks of a request inherit, says which calls are those of
GETs of PATH. REPORT is written when the agent ends. This file imports nothing of registryd: any build runs in it.
"""

from __future__ import annotations

import atexit
import json
import runpy
import sys
import threading
from contextvars import ContextVar
from importlib.util import find_spec
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from opcode import opmap
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_SUSPENDABLE: Final = CO_COROUTINE | CO_ASYNC_GENERATOR
_MOVES_BYTES: Final = frozenset(
    {"recv", "recv_into", "read", "pread", "preadv", "send", "sendmsg", "sendfile", "splice"}
)
# What is further out is on the stack of everything that the agent does.
_EVENT_LOOP: Final = "_run_once"


class Trace:
    """The files of functions that ran for GETs of one path, and of those functions that waited or moved bytes."""

    def __init__(self, package: str, path: str) -> None:
        self._package = package
        self._path = path
        self._is_of_request: ContextVar[bool] = ContextVar("is_of_request", default=False)
        self.ran: set[str] = set()
        self.passed: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "_handle_request":
            self._handle(frame)
        if not self._is_of_request.get():
            return
        if event == "c_call":
            if getattr(argument, "__name__", "") in _MOVES_BYTES:
                self._moves(frame)
        elif frame.f_code.co_filename.startswith(self._package):
            self.ran.add(self._name(frame))
            if event == "return" and _waits(frame):
                self.passed.add(self._name(frame))

    def _handle(self, frame: FrameType) -> None:
        """Note which request the server of aiohttp hands over; nothing of registryd has run for it yet."""
        request = frame.f_locals.get("request")
        asked = getattr(request, "method", ""), getattr(request, "path", "")
        self._is_of_request.set(asked == ("GET", self._path))

    def _moves(self, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_name != _EVENT_LOOP:
            if frame.f_code.co_filename.startswith(self._package):
                self.passed.add(self._name(frame))
            frame = frame.f_back

    def _name(self, frame: FrameType) -> str:
        return frame.f_code.co_filename[len(self._package) :]


def _waits(frame: FrameType) -> bool:
    """Whether a frame that is left is to be entered again."""
    return frame.f_code.co_flags & _SUSPENDABLE != 0 and frame.f_code.co_code[frame.f_lasti] == opmap["YIELD_VALUE"]


def main() -> None:
    report, path, *arguments = sys.argv[1:]
    trace = Trace(f"{Path(find_package()).parent}/", path)
    atexit.register(
        lambda: Path(report).write_text(json.dumps({"ran": sorted(trace.ran), "passed": sorted(trace.passed)}))
    )
    sys.argv = ["registryd", *arguments]
    threading.setprofile(trace)
    sys.setprofile(trace)
    runpy.run_module("registryd", run_name="__main__", alter_sys=True)


def find_package() -> str:
    """The file of the package that is traced, which PYTHONPATH may choose."""
    spec = find_spec("registryd")
    if spec is None or spec.origin is None:
        raise SystemExit("there is no registryd to trace")
    return spec.origin


if __name__ == "__main__":
    main()
