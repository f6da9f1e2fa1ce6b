"""A folder of static files over HTTP, with ranges: what any web host does."""

import http.server
import os
import re
import threading


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.translate_path(self.path)
        self.server.asked.append((self.path, self.headers.get("Range")))
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked or not os.path.isfile(path):
            return super().do_GET()
        size = os.path.getsize(path)
        begin = int(asked[1])
        end = min(int(asked[2] or size - 1), size - 1)
        if begin >= size:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.send_header("Content-Length", str(end - begin + 1))
        self.end_headers()
        with open(path, "rb") as file:
            file.seek(begin)
            self.wfile.write(file.read(end - begin + 1))


class Site:
    """Serves `folder`; `asked` has the path and the range of every request."""

    def __init__(self, folder):
        def handler(*args):
            return Handler(*args, directory=folder)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.asked = self.asked = []
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
