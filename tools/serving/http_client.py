"""What the scripts that try a server share: requests and streams over plain HTTP, with the standard library alone."""

import contextlib
import http.client
import json
import socket
import subprocess
import time
import urllib.parse


class Refused(Exception):
    """An answer that is not 200, with what the server says."""

    def __init__(self, status, text):
        try:
            message = json.loads(text)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = text[:300]
        super().__init__(f"status {status}: {message}")
        self.status = status
        self.text = text


class Server:
    """A server at an address, which may end in a path."""

    def __init__(self, url, key=None, timeout=600):
        parts = urllib.parse.urlsplit(url if "//" in url else "http://" + url)
        self.host, self.port = parts.hostname, parts.port or 80
        self.prefix = parts.path.rstrip("/")
        self.headers = {"content-type": "application/json"}
        if key:
            self.headers["authorization"] = "Bearer " + key
        self.timeout = timeout

    def open(self, method, path, body=None):
        """The connection, and the answer with its status and headers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, self.prefix + path, data, self.headers)
        response = connection.getresponse()
        if response.status != 200:
            text = response.read().decode(errors="replace")
            connection.close()
            raise Refused(response.status, text)
        return connection, response

    def whole(self, method, path, body=None):
        """An answer that comes as one JSON text."""
        connection, response = self.open(method, path, body)
        with contextlib.closing(connection):
            return json.loads(response.read())

    def get(self, path):
        return self.whole("GET", path)

    def post(self, path, body):
        return self.whole("POST", path, body)

    def stream(self, path, body):
        """Server-sent events as they come, each with the time at which it was there; `[DONE]` is the end.

        They are not understood before the stream has ended, so that a fast one is not slowed down by its reader.
        """
        connection, response = self.open("POST", path, {**body, "stream": True})
        seen = []
        rest = b""
        with contextlib.closing(connection):
            while piece := response.read1(1 << 16):
                now = time.monotonic()
                *lines, rest = (rest + piece).split(b"\n")
                seen += [(now, line[5:].strip()) for line in lines if line.startswith(b"data:")]
                if seen and seen[-1][1] == b"[DONE]":
                    break
        events = [(when, json.loads(data)) for when, data in seen if data != b"[DONE]"]
        for _, event in events:
            if "error" in event:
                raise Refused(200, json.dumps(event))
        return events


def context_of(server):
    """Most tokens of a sequence, as `/props` says; None where it does not."""
    try:
        props = server.get("/props")
    except (Refused, OSError):
        return None
    return props.get("default_generation_settings", {}).get("n_ctx")


def percentile(values, share):
    """The value below which this share of all lies, to the nearest one; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))] if ordered else None


class Running:
    """A `serve` of a program on a free port, from when it is ready until the end of the `with` block."""

    def __init__(self, program, arguments, seconds=300, log=None):
        self.command = [program, "serve", "--port", str(free_port()), *arguments]
        self.url = "http://127.0.0.1:" + self.command[3]
        self.seconds, self.log = seconds, log

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=self.log)
        self.server = Server(self.url)
        end = time.monotonic() + self.seconds
        while True:
            try:
                self.server.get("/health")
                return self
            except (Refused, OSError):
                if self.process.poll() is not None or time.monotonic() > end:
                    self.process.kill()
                    raise SystemExit(f"error: {' '.join(self.command)} is not ready") from None
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
