"""A server that looks like `serve` to the chat page, and answers by key words of the last message."""

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).parents[2] / "src/cli/serve/page.html"
PREFIX = "/some/where/llm"

HOSTILE = """Text <img src=x onerror="window.hacked=1"> and <script>window.hacked=1</script>.

<script>window.hacked=1</script>

<iframe srcdoc="<script>parent.hacked=1</script>"></iframe><svg onload="window.hacked=1"><style>*{display:none}</style>

[a](javascript:window.hacked=1) [b](JaVaScRiPt:window.hacked=1) [c](java\tscript:window.hacked=1) [d](data:text/html,x)
[e](//evil.invalid/x) [f](/v1/models) [g]( javascript:window.hacked=1) <javascript:window.hacked=1> [h](vbscript:x)
[i](https://ok.invalid/" onclick="window.hacked=1) ![j](https://evil.invalid/picture.png) ![k](javascript:alert(1))
[l](&#106;avascript:window.hacked=1) [m](https://ok.invalid/'><img src=x onerror=window.hacked=1>)
[__proto__](https://ok.invalid/) [[[[[[n](https://ok.invalid/) [o](https://ok.invalid/(a)(b)) [p]()

| <img src=x onerror=window.hacked=1> | b |
|---|:-:|
| `|` | <b onmouseover=window.hacked=1>x</b> | too | many |

```html" onclick="window.hacked=1
</code></pre><script>window.hacked=1</script>
```

1. > - 1. > - 1. > - 1. > - 1. > - deep
> > > > > > > > > > > > > > > > > > > > quoted
**open *mixed __marks~~ and** wrong_order ** a ** *** **** `open code

# <img src=x onerror=window.hacked=1>
"""
# Each of these made some Markdown program need more than linear time.
SLOW = [
    "*a " * 20000,
    "[" * 50000,
    "`" * 30000 + "a",
    "![a](" * 10000,
    "> " * 20000,
    " " * 60000 + "x",
    "- " * 20000,
    "#" * 60000 + " x",
    "_" * 50001,
    "|a" * 20000 + "\n" + "|-" * 20000,
    "```" + " " * 50000 + "`",
    "~~a~~" * 9000,
    "x" * 200000,
    "https://a.b/" + ")" * 60000,
    "[a](http://" + "(" * 50000,
    "\n" * 50000 + "a\n---" + " " * 50000 + "x",
    "".join("`" * k + " " for k in range(1, 400)),
    "1. a\n" * 8000,
    "<https://" * 8000,
]
# What a renderer of growing text may guess wrongly: marks that are never closed, lists that go on after a gap.
UNCLOSED = """A **bold that never ends

and `code too. - [a](https://b.invalid

1. one
2. two

3. three
   ```
   in a list

- x
- y

Title
===
| a | b
|--|--
| c

> quote
lazy

**end"""
SHOWCASE = """Every complex number $a + bi$ is a **point in the plane**, and multiplying by *i* turns it \
by a quarter. Four turns bring it back, which is why a weight that is one of `{1, i, -1, -i}` needs two bits only.

### What a quarter turn does

| Weight | Turn | Real part becomes |
|:--|--:|:--|
| `1` | 0\u00b0 | a |
| `i` | 90\u00b0 | -b |
| `-1` | 180\u00b0 | -a |
| `-i` | 270\u00b0 | b |

In code, with no multiplication at all:

```rust
fn rotate(code: u8, (re, im): (i32, i32)) -> (i32, i32) {
    match code & 3 {
        0 => (re, im),
        1 => (-im, re),
        2 => (-re, -im),
        _ => (im, -re),
    }
}
```

1. Two bits choose the turn.
2. A scale stands before each block:
   - one for the *real* half,
   - one for the *imaginary* half.
3. Sums are integers, so they are exact.

> The order of a sum does not matter when its terms are whole numbers.

More is in [the paper](https://arxiv.org/abs/2512.02901).
"""


def answer_to(text, turn):
    """Pieces of an answer to a message, seconds between them, and how it ends."""
    words = [
        word + " " for word in f"This is answer {turn}, and it is told word by word so that one can watch it.".split()
    ]
    if "hostile" in text:
        return [HOSTILE[k : k + 7] for k in range(0, len(HOSTILE), 7)], 0.001, "stop"
    if "slow" in text:
        return [SLOW[int(text.split()[-1])]], 0, "stop"
    if "unclosed" in text:
        return list(UNCLOSED), 0.003, "stop"
    if "showcase" in text:
        return re.findall(r"\S+\s*|\s+", SHOWCASE), 0.002, "stop"
    if "long" in text:
        return (f"Line {k} of an answer that does not end. \n\n" for k in range(100_000)), 0.01, "stop"
    if "code" in text:
        return ["```python\n", *(f"print({k}, 'a line of code')\n" for k in range(8000)), "```\nThe end."], 0, "stop"
    if "patience" in text:
        return words, 2, "stop"
    if "limit" in text:
        return words, 0, "length"
    if "broken" in text:
        return words[:3], 0, None
    if "fault" in text:
        return words[:3], 0, "error"
    return words, 0.05, "stop"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def path_inside(self):
        """The path without the prefix, as a proxy would hand it on."""
        path = self.path.removeprefix(PREFIX)
        return path or "/"

    def reply(self, body, kind="application/json", status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path_inside()
        if path == "/":
            page = PAGE.read_bytes()
            self.reply(page, "text/html; charset=utf-8", **{"content-security-policy": policy(page.decode())})
        elif self.refused():
            return
        elif path == "/v1/models":
            self.reply({"object": "list", "data": [{"id": "novella-w2", "object": "model"}]})
        elif path == "/props":
            params = {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05}
            self.reply({"default_generation_settings": {"n_ctx": 1024, "params": params}, "total_slots": 4})
        else:
            self.reply({"error": {"message": "no such address"}}, status=404)

    def refused(self):
        wanted = self.server.key
        if wanted and self.headers.get("authorization") != f"Bearer {wanted}":
            self.reply({"error": {"message": "The API key is missing or wrong."}}, status=401)
            return True
        return False

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.refused():
            return
        if self.server.gone:
            self.close_connection = True
            return
        self.server.bodies.append(body)
        text = body["messages"][-1]["content"]
        if "refuse" in text:
            self.reply({"error": {"message": "temperature must be at least 0 <b>"}}, status=400)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.stream(body, text)
        except OSError:
            self.server.left += 1

    def event(self, data):
        self.wfile.write(b"data: " + (data if isinstance(data, str) else json.dumps(data)).encode() + b"\n\n")

    def stream(self, body, text):
        pieces, pause, finish = answer_to(text, len(self.server.bodies))
        self.event({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        count = 0
        for piece in pieces:
            time.sleep(pause)
            self.event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
            count += 1
        if finish == "error":
            self.event({"error": {"message": "The device was lost."}})
        elif finish:
            self.event({"choices": [{"delta": {}, "finish_reason": finish}]})
            prompt = sum(len(m["content"].split()) for m in body["messages"])
            usage = {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
            self.event({"choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": prompt // 2}}})
            self.event("[DONE]")


def policy(page):
    """What the page needs, and nothing else: its own script and style by their hashes."""

    def hashed(tag):
        (block,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        return "'sha256-" + base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; script-src {hashed('script')}; style-src {hashed('style')}; "
        "connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


class Mock(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A browser that goes away is no fault."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.left, self.key, self.gone = [], 0, None, False
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/"
