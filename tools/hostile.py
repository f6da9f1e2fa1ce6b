#!/usr/bin/env python3
"""Sends a server what nobody should send, and looks whether it minds.

    python3 tools/hostile.py --program target/release/fairy2i-gpu -- -m FOLDER --stages 2 --device cpu
    python3 tools/hostile.py --url http://127.0.0.1:8080 --pid 4711

Five thousand cases by a fixed seed: random and malformed bytes, broken HTTP, JSON that is deep, huge, of wrong types or
not JSON, bodies of 10 MB, connections that are half open, slow, or gone in the middle of an answer, schemas without end.
Meanwhile thousands of connections are open and some send a byte now and then. Between two rounds of cases a good request
must be answered as ever and in its usual time. In the end no slot may be busy, no file open and no thread running that
was not before, the memory must be back within a tenth, and nothing may have panicked.

Runs where /proc is (Linux), with the standard library alone. JSON on stdout; the exit code is 1 if anything is wrong.
`--case N` sends one case only, and shows what comes back.
"""

import argparse
import json
import os
import random
import resource
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from serving.hostile_cases import CHAT, COMPLETION, LEFT, RAW, case, http, huge_body, leaving
from serving.http_client import Refused, Running, Server, percentile

TAKEN = {200, 204}
REFUSED = {400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 422, 426, 429, 431, 501, 503, 505}
# Seconds that a case waits for the first byte of an answer.
PATIENCE = 40


class Wrong(Exception):
    """The server minds."""


def connect(server):
    return socket.create_connection((server.host, server.port), timeout=PATIENCE)


def reset(connection):
    """Ends a connection as a broken network does, without a farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def status_of(answer):
    try:
        return int(answer.split(b" ", 2)[1])
    except (IndexError, ValueError):
        raise Wrong(f"no HTTP is answered: {answer[:80]!r}") from None


def send(server, seed, index, only=()):
    """Sends a case; the status that came back, 0 for none."""
    kind, data, draw = case(seed, index, only)
    try:
        connection = connect(server)
    except OSError as error:
        raise Wrong(f"no connection: {error}") from None
    try:
        connection.sendall(data)
        if kind in LEFT:
            if kind is leaving:
                connection.settimeout(draw.choice([0.001, 0.05, 0.5]))
                connection.recv(draw.choice([1, 300, 3000]))
            (reset if draw.random() < 0.7 else socket.socket.close)(connection)
            return 0
        answer = connection.recv(1 << 16)
    except TimeoutError:
        if kind in LEFT or kind in RAW:
            return 0
        raise Wrong(f"no answer within {PATIENCE} s") from None
    except OSError:
        # The server may close before it has read everything, and the system then drops what it said.
        if kind in RAW or kind in LEFT or len(data) > 1 << 20:
            return 0
        raise Wrong("the connection was reset") from None
    finally:
        connection.close()
    if not answer:
        if kind in RAW:
            return 0
        raise Wrong("closed without an answer")
    status = status_of(answer)
    if status not in TAKEN | REFUSED and kind not in RAW or status >= 500 and status not in REFUSED:
        raise Wrong(f"status {status}: {answer[-200:]!r}")
    if kind is huge_body and status < 400:
        raise Wrong(f"10 MB were taken: status {status}")
    return status


class Slow(threading.Thread):
    """Connections that are open and say nothing, and every twentieth that sends a byte now and then, until `done`."""

    def __init__(self, server, count):
        super().__init__(daemon=True)
        self.server, self.count = server, count
        self.done = threading.Event()
        self.opened = 0

    def run(self):
        data = http("/v1/completions", json.dumps(COMPLETION))
        # How much of its request each connection has sent; None for those that send nothing.
        sent = {}
        while not self.done.wait(0.2):
            for connection, at in list(sent.items()):
                try:
                    if at is not None:
                        sent[connection] += connection.send(data[at : at + 1])
                    if not connection.recv(4096):
                        raise ConnectionResetError
                except BlockingIOError:
                    continue
                except OSError:
                    connection.close()
                    del sent[connection]
            for _ in range(min(100, self.count - len(sent))):
                try:
                    connection = connect(self.server)
                except OSError:
                    break
                connection.setblocking(False)
                sent[connection] = 0 if self.opened % 20 == 0 else None
                self.opened += 1
        for connection in sent:
            connection.close()


def process(pid):
    """Memory in MB, open files and threads of a process."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {
        "memory": int(fields["VmRSS"].split()[0]) / 1024,
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(fields["Threads"]),
    }


class Good:
    """The request that must be answered as ever."""

    def __init__(self, server):
        self.server = server
        self.text = self.ask()[0]
        self.usual = statistics.median(self.ask()[1] for _ in range(20))
        self.during, self.between = [], []

    def ask(self):
        begun = time.monotonic()
        answer = self.server.post("/v1/completions", {**COMPLETION, "max_tokens": 8})
        return answer["choices"][0]["text"], time.monotonic() - begun

    def again(self, times):
        text, seconds = self.ask()
        times.append(seconds)
        if text != self.text:
            raise Wrong(f"the good request is answered {text!r} instead of {self.text!r}")


def attack(server, good, options):
    """All cases, in rounds; what is wrong, by case, and how often each status came."""
    wrong, statuses = [], {}
    lock = threading.Lock()

    def one(index):
        try:
            status = send(server, options.seed, index, options.only)
        except Wrong as error:
            with lock:
                wrong.append(f"case {index}, {case(options.seed, index, options.only)[0].__name__}: {error}")
            return
        with lock:
            statuses[status] = statuses.get(status, 0) + 1

    with ThreadPoolExecutor(options.clients) as pool:
        for start in range(0, options.cases, options.round):
            futures = [pool.submit(one, index) for index in range(start, min(start + options.round, options.cases))]
            while not all(future.done() for future in futures):
                try:
                    good.again(good.during)
                except Refused as refused:
                    if refused.status not in (429, 503):
                        raise
                time.sleep(0.05)
            good.again(good.between)
            print(f"{start + len(futures)} cases, {len(wrong)} wrong", file=sys.stderr)
    return wrong, statuses


def busy(server):
    return sum(bool(slot["is_processing"]) for slot in server.get("/slots"))


def settled(server, pid, before):
    """What is wrong with the process once it has had time to come to rest."""
    end = time.monotonic() + 60
    while True:
        after, slots, wrong = process(pid), busy(server), []
        if slots:
            wrong.append(f"{slots} slots are busy")
        if after["memory"] > 1.1 * before["memory"]:
            wrong.append(f"memory went from {before['memory']:.1f} to {after['memory']:.1f} MB")
        if after["files"] > before["files"] + 2:
            wrong.append(f"open files went from {before['files']} to {after['files']}")
        if after["threads"] > before["threads"] + 4:
            wrong.append(f"threads went from {before['threads']} to {after['threads']}")
        if not wrong or time.monotonic() > end:
            return wrong, after
        time.sleep(1)


def warm(server):
    """Fills every slot, and so the model's cache, and has a schema read: what was used once is the server's for good."""
    props = server.get("/props")
    slots, context = props["total_slots"], props["default_generation_settings"]["n_ctx"]
    draws = [random.Random(slot) for slot in range(2 * slots)]
    bodies = [{"prompt": [draw.randrange(256) for _ in range(context - 1)], "max_tokens": 1} for draw in draws]
    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(lambda body: server.post("/v1/completions", body), bodies))
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    try:
        server.post("/v1/chat/completions", {**CHAT, "response_format": form})
    except Refused as refused:
        print(f"without schemas: {refused}", file=sys.stderr)


def run(server, pid, options):
    good = Good(server)
    warm(server)
    before = process(pid)
    slow = Slow(server, options.idle)
    slow.start()
    begun = time.monotonic()
    wrong, statuses = attack(server, good, options)
    seconds = time.monotonic() - begun
    slow.done.set()
    slow.join()
    rest, after = settled(server, pid, before)
    late = percentile(good.between, 0.5)
    if late > 2 * good.usual + 0.05:
        rest.append(f"a good request takes {late:.3f} s between the rounds, {good.usual:.3f} s before")
    report = {
        "cases": options.cases,
        "seconds": round(seconds, 1),
        "connections_besides": slow.opened,
        "statuses": dict(sorted(statuses.items())),
        "wrong": len(wrong) + len(rest),
        "first_wrong": (rest + wrong)[:20],
        "before": before,
        "after": after,
        "good_request_seconds": {
            "usual": good.usual,
            "between_p50": late,
            "between_most": max(good.between),
            "during_p50": percentile(good.during, 0.5),
            "during_p95": percentile(good.during, 0.95),
        },
    }
    return report


def main():
    own = sys.argv[1:]
    rest = own[own.index("--") + 1 :] if "--" in own else []
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", help="start `serve` of this program with the options that follow --")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=16, help="cases at a time")
    parser.add_argument("--round", type=int, default=100, help="cases between two good requests that count")
    parser.add_argument("--idle", type=int, default=2000, help="open connections that say nothing")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=(), help="kinds of cases, such as half,leaving"
    )
    parser.add_argument("--case", type=int, help="send this one only")
    options = parser.parse_args(own[: own.index("--")] if "--" in own else own)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 16384)), hard))
    if options.case is not None:
        kind, data, _ = case(options.seed, options.case, options.only)
        print(f"{kind.__name__}, {len(data)} bytes: {data[:2000]!r}", file=sys.stderr)
    if options.program:
        with tempfile.TemporaryFile("w+") as log, Running(options.program, rest, log=log) as running:
            report = once(running.server, running.process.pid, options)
            log.seek(0)
            panics = [line.strip() for line in log if "panicked" in line]
            report["wrong"] += len(panics)
            report["panics"] = panics[:5]
    elif options.url and (options.pid or options.case is not None):
        report = once(Server(options.url), options.pid, options)
    else:
        parser.error("give --program, or --url with --pid")
    print(json.dumps(report, indent=1))
    sys.exit(1 if report["wrong"] else 0)


def once(server, pid, options):
    try:
        if options.case is not None:
            return {"status": send(server, options.seed, options.case, options.only), "wrong": 0}
        return run(server, pid, options)
    except (Wrong, Refused, OSError) as error:
        return {"wrong": 1, "first_wrong": [str(error)]}


if __name__ == "__main__":
    main()
