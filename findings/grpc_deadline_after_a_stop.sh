#!/usr/bin/env bash
# gRPC for Python (grpcio 1.85.0): a call of a process that was stopped, and whose answer came in time.
#
# The client asks with a deadline of a second, and is stopped (SIGSTOP) for three right after that: so does a frozen
# container, a debugger, or a machine that swaps. The server answers after 0.2 s, and the answer lies in the client's socket
# when the client goes on: a call without a deadline has it. With one it depends on which of gRPC's threads is first, the
# one that reads or the one with the timers: in both of its APIs, most calls fail with DEADLINE_EXCEEDED.
# Whoever takes that for a server that is silent takes good ones for silent.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q grpcio==1.85.0

cat >server.py <<'PY'
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc


def answer(request, context):
    time.sleep(0.2)
    return b"answer"


server = grpc.server(ThreadPoolExecutor(2))
methods = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Demo", methods),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
server.stop(None)
PY

cat >client.py <<'PY'
import asyncio
import sys

import grpc

api, port, deadline = sys.argv[1:]
timeout = float(deadline) if deadline else None


def ask():
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/Demo/Ask")
        method(b"first", timeout=10)  # connects
        print("asks", flush=True)
        return method(b"second", timeout=timeout)


async def ask_aio():
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/Demo/Ask")
        await method(b"first", timeout=10)
        call = method(b"second", timeout=timeout)
        await asyncio.sleep(0.02)  # so that it is on its way
        print("asks", flush=True)
        return await call


try:
    print((ask() if api == "grpc" else asyncio.run(ask_aio())).decode())
except grpc.RpcError as error:
    print(error.code().name)
PY

cat >stop.py <<'PY'
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

CLIENTS = 16


def outcomes(api, port, deadline):
    with ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            argv = [sys.executable, "client.py", api, port, deadline]
            clients.append(client := stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)))
            assert client.stdout.readline() == "asks\n"
            client.send_signal(signal.SIGSTOP)
        time.sleep(3)
        for client in clients:
            client.send_signal(signal.SIGCONT)
        return [client.communicate(timeout=30)[0].strip() for client in clients]


with subprocess.Popen([sys.executable, "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
    port = server.stdout.readline().strip()
    for api in ("grpc", "grpc.aio"):
        for deadline in ("1", ""):
            seen = outcomes(api, port, deadline)
            print(f"{api}, deadline {deadline or 'none'}: {seen.count('answer')} of {CLIENTS} have the answer", file=sys.stderr)
            print(f"{api}, deadline {deadline or 'none'}: {' or '.join(sorted(set(seen)))}")
    server.communicate()
PY

expected='grpc, deadline 1: DEADLINE_EXCEEDED or answer
grpc, deadline none: answer
grpc.aio, deadline 1: DEADLINE_EXCEEDED or answer
grpc.aio, deadline none: answer'
seen=$(venv/bin/python stop.py)
echo "$seen"
[[ $seen == "$expected" ]]
