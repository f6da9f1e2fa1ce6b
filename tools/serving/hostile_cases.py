"""The cases that `hostile.py` sends: one function a kind, which makes the bytes from the draws that it is given."""

import json
import random

PATHS = ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/apply-template", "/v1/responses"]
COMPLETION = {"prompt": "Once upon", "max_tokens": 2, "temperature": 0}
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
FIELDS = """
prompt messages max_tokens max_completion_tokens temperature top_p top_k min_p seed stop n echo logprobs top_logprobs
logit_bias presence_penalty frequency_penalty repeat_penalty stream stream_options tools tool_choice response_format
model best_of suffix user content tokens add_special ignore_eos cache_prompt n_predict input
""".split()
# What JSON allows and programs forget, and what some programs write though JSON does not allow it.
VALUES = [
    "null",
    "true",
    "-1",
    "0",
    "1",
    "-0.0",
    "1e308",
    "-1e308",
    "1e999",
    "9223372036854775807",
    "18446744073709551616",
    "1" + "0" * 400,
    "NaN",
    "Infinity",
    "-Infinity",
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"' + "x" * 2000 + '"',
    "[]",
    "{}",
    "[[]]",
    "[null]",
    '{"a": 1}',
    "[1, 2]",
    '["a", 1, null, {}]',
    "[" * 60 + "]" * 60,
    "[4294967296]",
    "[-1]",
    "0.5",
    "3",
    '[{"role": "user"}]',
    '[{"role": 1, "content": []}]',
    '{"-1": 1e30, "x": null}',
    '{"type": "json_schema"}',
    "100000",
]
SCHEMAS = [
    {"$ref": "#"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"type": "string", "pattern": "(a+)+$" * 50},
    {"type": "string", "pattern": "(" * 500},
    {"type": "string", "pattern": "a{1,100000}{1,100000}"},
    {"type": "array", "minItems": 10**9},
    {"type": "string", "minLength": 10**12},
    {"enum": [str(k) for k in range(50000)]},
    {
        "allOf": [{"anyOf": [{"type": "object", "properties": {f"p{i}{k}": {} for k in range(20)}} for i in range(20)]}]
        * 20
    },
    {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
    {"type": ["x"] * 1000},
    {"properties": 5},
    {"const": "x" * 100000},
    {"type": "number", "multipleOf": 1e-300},
    {"$ref": "http://127.0.0.1:1/schema"},
    {"$ref": "file:///etc/passwd"},
    False,
    7,
]


def http(path, body, method="POST", headers=()):
    body = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1", "replace") + body


def mixed_body(draw, path):
    """A good request with some fields replaced, as text."""
    good = dict(CHAT if "chat" in path else COMPLETION)
    fields = {name: json.dumps(value) for name, value in good.items()}
    for _ in range(draw.randint(1, 3)):
        fields[draw.choice(FIELDS)] = draw.choice(VALUES)
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


# Each kind of case makes the bytes that are sent; those of RAW may be answered by nothing at all.


def wrong_types(draw):
    path = draw.choice(PATHS)
    return http(path, mixed_body(draw, path))


def cut_json(draw):
    path = draw.choice(PATHS)
    text = mixed_body(draw, path)
    at = draw.randrange(len(text))
    return http(
        path,
        text[:at]
        + draw.choice(["", "\x00", "}", "]", '"', "\ufeff", "\ud800", text])
        + text[at + draw.randint(0, 2) :],
    )


def deep_json(draw):
    opening, closing = draw.choice([("[", "]"), ('{"a":', "}"), ('[{"prompt":', "}]")])
    depth = draw.choice([30, 127, 128, 129, 1000, 100_000])
    whole = opening * depth + "1" + draw.choice([closing * depth, ""])
    return http(
        draw.choice(PATHS), whole if draw.random() < 0.5 else '{"prompt": "a", "max_tokens": 1, "x": ' + whole + "}"
    )


def random_body(draw):
    return http(draw.choice(PATHS), draw.randbytes(draw.randint(0, 5000)))


def huge_body(draw):
    filler = draw.choice(
        [
            '{"prompt": "' + "a " * 5_000_000 + '"}',
            "[" * 10_000_000,
            " " * 10_000_000,
            '{"prompt": [' + "1," * 5_000_000 + "1]}",
            '{"a":' + "1" * 10_000_000 + "}",
        ]
    )
    return http(draw.choice(PATHS), filler)


def huge_lists(draw):
    many = draw.choice([500, 5000, 50_000])
    body = draw.choice(
        [
            {**COMPLETION, "prompt": ["a"] * many},
            {**COMPLETION, "prompt": [[1]] * many},
            {**COMPLETION, "stop": ["b"] * many},
            {**COMPLETION, "logit_bias": {str(k): 1 for k in range(many)}},
            {**COMPLETION, "n": many},
            {**COMPLETION, "best_of": many},
            {**COMPLETION, "prompt": "sea " * many},
            {**COMPLETION, "stop": "s" * many},
            {**COMPLETION, "logprobs": many},
            {**CHAT, "messages": CHAT["messages"] * many},
            {**CHAT, "n": many},
            {**CHAT, "tools": [{"type": "function"}] * many},
            {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * many}]},
            {str(k): k for k in range(many)},
        ]
    )
    return http("/v1/chat/completions" if "messages" in body else "/v1/completions", json.dumps(body))


def schemas(draw):
    schema = draw.choice(SCHEMAS)
    if draw.random() < 0.2:
        schema = {"type": "object"}
        for _ in range(draw.choice([20, 60, 200])):
            schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return http("/v1/chat/completions", json.dumps({**CHAT, "response_format": form}))


def odd_messages(draw):
    roles = ["user", "assistant", "system", "tool", "", "\u0000", "developer", "x" * 1000]
    contents = [
        "",
        "<|im_end|>",
        "{{ 7 * 7 }}",
        "{% for a in range(10**9) %}{% endfor %}",
        "\ud83d\ude00" * 50,
        None,
        [],
        [{"type": "image_url"}],
    ]
    messages = [{"role": draw.choice(roles), "content": draw.choice(contents)} for _ in range(draw.randint(0, 6))]
    return http(draw.choice(["/v1/chat/completions", "/apply-template"]), json.dumps({**CHAT, "messages": messages}))


def odd_paths(draw):
    path = draw.choice(
        [
            "/../../etc/passwd",
            "//",
            "/%00",
            "/v1/models/%ff%fe",
            "/v1/models/" + "a" * 60_000,
            "/?" + "a=b&" * 5000,
            "/slots/0",
            "/v1/completions/",
            "/V1/completions",
            "/v1//completions",
            "*",
            "http://other/",
            "/\x7f",
            "/v1/models/../..",
        ]
    )
    return http(
        path,
        "{}",
        draw.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT", "X" * 500, "PRI"]),
    )


def odd_headers(draw):
    headers = draw.choice(
        [
            ["X: " + "a" * 60_000],
            [f"X{k}: a" for k in range(1000)],
            ["Transfer-Encoding: chunked"],
            ["Content-Length: 5"],
            ["Content-Length: -1"],
            ["Content-Length: 99999999999999999999"],
            ["Expect: 100-continue"],
            ["Upgrade: h2c"],
            ["Content-Encoding: gzip"],
            ["Authorization: Bearer " + "k" * 5000],
            ["Authorization: \x80\xff"],
            [" folded: a"],
            ["Host: a", "Host: b"],
            ["Origin: null"],
            ["Content-Type: text/plain"],
            ["Range: bytes=0-,0-,0-"],
            ["No colon"],
        ]
    )
    return http("/v1/completions", json.dumps(COMPLETION), headers=headers)


def chunks(draw):
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + draw.choice(
        [
            b"zz\r\n",
            b"-1\r\n",
            b"ffffffffffffffffff\r\n",
            b"5;" + b"x" * 50_000 + b"\r\n",
            b"1\r\n{\r\n" * 500 + b"0\r\n\r\n",
            b"5\r\n{}\r\n0\r\n\r\n",
            b"0\r\n" + b"T: a\r\n" * 5000 + b"\r\n",
            b"\r\n\r\n",
            b"4\r\nnull\r\n0\r\n\r\n",
        ]
    )


def random_bytes(draw):
    return (
        draw.choice([b"", b"GET ", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
        + draw.randbytes(draw.randint(1, 3000))
        + b"\r\n\r\n"
    )


def half(draw):
    """The beginning of a request, whose sender then leaves."""
    whole = http("/v1/completions", json.dumps(COMPLETION))
    return whole[: draw.randrange(len(whole))]


def leaving(draw):
    """A long streamed answer, whose reader leaves after a few bytes, or before any."""
    path = draw.choice(PATHS[:2])
    good = (
        CHAT
        if "chat" in path
        else {**COMPLETION, "logprobs": draw.choice([None, 2]), "echo": draw.choice([True, False])}
    )
    return http(
        path,
        json.dumps(
            {
                **good,
                "max_tokens": draw.choice([50, 200]),
                "n": draw.choice([1, 1, 3]),
                "stream": draw.choice([True, True, False]),
            }
        ),
    )


def pipelined(draw):
    """Several requests in one write, of which some are good."""
    some = [
        http("/tokenize", '{"content": "a"}').replace(b"Connection: close\r\n", b"") for _ in range(draw.randint(2, 20))
    ]
    return b"".join(some) + draw.choice([b"", b"GARBAGE\r\n\r\n", http("/health", "", "GET")])


# How often each kind is drawn. The first list must be answered with a status; the others may be, or be closed.
ANSWERED = {
    wrong_types: 30,
    cut_json: 14,
    deep_json: 6,
    random_body: 6,
    huge_body: 1,
    huge_lists: 5,
    schemas: 4,
    odd_messages: 6,
}
RAW = {odd_paths: 6, odd_headers: 6, chunks: 4, random_bytes: 4, pipelined: 2}
LEFT = {half: 6, leaving: 10}


def case(seed, index, only=()):
    """The kind of a case, its bytes, and the draws that are left for how it is sent. With `only` it is one of those."""
    draw = random.Random(f"{seed} {index}")
    kinds = {kind: often for kind, often in {**ANSWERED, **RAW, **LEFT}.items() if not only or kind.__name__ in only}
    (kind,) = draw.choices(list(kinds), list(kinds.values()))
    return kind, kind(draw), draw
