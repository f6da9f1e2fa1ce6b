#!/usr/bin/env python3
"""Talks to a running server with the official `openai` package, and checks what comes back.

    pip install openai
    fairy2i-gpu serve --port 8080 --api-key sesame &
    python3 tools/openai_client.py http://127.0.0.1:8080/v1 --key sesame

Prints one line a check; the exit code is 1 if one fails. Without --key the checks of wrong keys are left out.
"""

import argparse
import json
import math
import sys
import time
import traceback

import openai

PROMPT = "Once upon a time there was an old"
CHAT = [
    {"role": "system", "content": "You are a friendly assistant."},
    {"role": "user", "content": "Say hello to the sea."},
]
# Short strings and small lists, so that an answer is complete within its tokens whatever a small model writes.
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["ship", "lighthouse", "island"]},
        "tall": {"type": "boolean"},
        "doors": {"enum": [1, 2, 3]},
    },
    "required": ["kind", "tall", "doors"],
    "additionalProperties": False,
}


def need(true, what):
    if not true:
        raise AssertionError(what)


class Checks:
    """Each method is a check; its documentation is what it checks."""

    def __init__(self, client, model, options):
        self.client, self.model, self.options = client, model, options

    def complete(self, **more):
        fields = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, **more}
        return self.client.completions.create(model=self.model, **fields)

    def chat(self, **more):
        fields = {"messages": CHAT, "max_tokens": 24, "temperature": 0, **more}
        return self.client.chat.completions.create(model=self.model, **fields)

    def models(self):
        """the model is listed, and found by its name"""
        need(self.client.models.retrieve(self.model).id == self.model, "another model is found")

    def completes(self):
        """a completion has text, usage and a reason why it ended, and greedy ones are equal"""
        answer = self.complete()
        (choice,) = answer.choices
        need(choice.text and choice.finish_reason in ("length", "stop"), f"the choice is {choice}")
        usage = answer.usage
        need(usage.completion_tokens <= 12 and usage.prompt_tokens > 0, f"usage is {usage}")
        need(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, f"usage is {usage}")
        need(self.complete().choices[0].text == choice.text, "two greedy completions differ")

    def prompts(self):
        """several prompts are answered in their order, texts and token ids alike"""
        alone = [self.complete(prompt=p, max_tokens=6).choices[0].text for p in (PROMPT, "The sea")]
        both = self.complete(prompt=[PROMPT, "The sea"], max_tokens=6)
        need([c.index for c in both.choices] == [0, 1], "the choices are not numbered in their order")
        need([c.text for c in both.choices] == alone, "prompts together are answered unlike alone")
        ids = self.complete(prompt=[5, 6, 7, 8], max_tokens=4)
        need(ids.usage.prompt_tokens == 4, f"four ids are {ids.usage.prompt_tokens} tokens")

    def streams(self):
        """the first token arrives before the answer is complete, and the pieces make the same text"""
        begun = time.monotonic()
        times, text, usage, finish = [], "", None, None
        options = {"include_usage": True}
        for chunk in self.complete(max_tokens=48, stream=True, stream_options=options, extra_body={"ignore_eos": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                if choice.text:
                    times.append(time.monotonic() - begun)
                    text += choice.text
        total = time.monotonic() - begun
        need(usage and usage.completion_tokens == 48 and finish == "length", f"usage {usage}, finish_reason {finish}")
        need(
            len(times) > 4 and times[0] < 0.8 * total,
            f"first text after {times[:1]} of {total:.3f} s: nothing was streamed",
        )
        whole = self.complete(max_tokens=48, extra_body={"ignore_eos": True}).choices[0].text
        need(text == whole, f"streamed {text!r}, at once {whole!r}")

    def chats(self):
        """a chat answers as the assistant, streamed and at once alike"""
        answer = self.chat()
        message = answer.choices[0].message
        need(message.role == "assistant" and message.content, f"the message is {message}")
        pieces = [c.delta for chunk in self.chat(stream=True) for c in chunk.choices]
        need(pieces[0].role == "assistant", "the first piece of a stream has no role")
        need("".join(p.content or "" for p in pieces) == message.content, "the stream says something else")
        parts = [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Say hello"}, {"type": "text", "text": " to the sea."}],
            }
        ]
        need(self.chat(messages=parts).choices[0].message.content is not None, "text in parts is not answered")

    def logprobs(self):
        """log-probabilities come for each token, best first, and are those of greedy choices"""
        said = self.complete(logprobs=3, max_tokens=5, extra_body={"ignore_eos": True}).choices[0].logprobs
        need(len(said.tokens) == len(said.token_logprobs) == len(said.top_logprobs) == 5, f"lists of lengths {said}")
        for own, top in zip(said.token_logprobs, said.top_logprobs):
            need(own <= 0 and abs(own - max(top.values())) < 1e-5, f"{own} was chosen of {top}")
        content = self.chat(logprobs=True, top_logprobs=4, max_tokens=5).choices[0].logprobs.content
        for entry in content:
            top = [t.logprob for t in entry.top_logprobs]
            need(len(top) == 4 and top == sorted(top, reverse=True), f"the likeliest tokens are {top}")
            need(sum(math.exp(p) for p in top) < 1.001, "probabilities add up to more than 1")

    def echo(self):
        """a prompt is echoed with the log-probabilities of its own tokens"""
        answer = self.complete(echo=True, logprobs=1, max_tokens=1, extra_body={"ignore_eos": True})
        (choice,) = answer.choices
        need(choice.text.startswith(PROMPT), f"the text begins with {choice.text[:40]!r}")
        numbers = choice.logprobs.token_logprobs
        need(len(numbers) == answer.usage.prompt_tokens + 1, f"{len(numbers)} numbers for {answer.usage}")
        need(numbers[0] is None and all(p <= 0 for p in numbers[1:]), f"the numbers are {numbers}")

    def several(self):
        """n=3 gives three sampled choices, and the same three with the same seed"""
        draw = lambda: [c.text for c in self.complete(n=3, temperature=1.0, seed=7, max_tokens=16).choices]
        first = draw()
        need(len(first) == 3 and len(set(first)) > 1, f"three choices are {first}")
        need(draw() == first, "the same seed gives other choices")
        chat = self.chat(n=3, temperature=1.0, seed=7)
        need([c.index for c in chat.choices] == [0, 1, 2], "three choices of a chat are not numbered 0, 1, 2")
        by_index = ["", "", ""]
        for chunk in self.chat(n=3, temperature=1.0, seed=7, stream=True):
            for choice in chunk.choices:
                by_index[choice.index] += choice.delta.content or ""
        need(by_index == [c.message.content for c in chat.choices], "three choices are streamed unlike at once")

    def seeds(self):
        """sampling is decided by its seed"""
        draw = lambda seed: self.complete(temperature=1.0, seed=seed, max_tokens=24).choices[0].text
        need(draw(1) == draw(1), "the same seed gives another text")
        need(len({draw(seed) for seed in range(4)}) > 1, "four seeds give one text")

    def stops(self):
        """a text ends before its stop string, streamed as well"""
        text = self.complete(max_tokens=24).choices[0].text
        stop = text[len(text) // 2 :][:3]
        answer = self.complete(max_tokens=24, stop=stop).choices[0]
        need(answer.text == text[: text.index(stop)], f"{text!r} was stopped at {stop!r} as {answer.text!r}")
        need(answer.finish_reason == "stop", f"finish_reason is {answer.finish_reason}")
        pieces = [c.text for chunk in self.complete(max_tokens=24, stop=[stop], stream=True) for c in chunk.choices]
        need("".join(pieces) == answer.text, f"streamed {''.join(pieces)!r}")

    def bias(self):
        """a token with a large bias is always chosen, and penalties are taken"""
        answer = self.complete(logit_bias={"70": 100}, max_tokens=3, extra_body={"ignore_eos": True}, logprobs=0)
        need(
            len(set(answer.choices[0].logprobs.tokens)) == 1, f"a bias of 100 gives {answer.choices[0].logprobs.tokens}"
        )
        self.complete(presence_penalty=1.0, frequency_penalty=0.5)

    def schema(self):
        """an answer that must fit a JSON schema does, greedy and sampled"""
        form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}
        for temperature in (0, 1):
            answer = self.chat(response_format=form, max_tokens=400, temperature=temperature, seed=3).choices[0]
            value = json.loads(answer.message.content)
            fits = set(value) == {"kind", "tall", "doors"} and value["kind"] in SCHEMA["properties"]["kind"]["enum"]
            need(fits and value["tall"] in (True, False) and value["doors"] in (1, 2, 3), f"the answer is {value}")
            need(answer.finish_reason == "stop", f"finish_reason is {answer.finish_reason}")

    def refuses(self):
        """wrong values are BadRequestError with the field's name, unknown addresses NotFoundError"""
        bad = {
            "temperature": -1,
            "top_p": 2,
            "n": 0,
            "max_tokens": -5,
            "logprobs": 10**9,
            "stop": 5,
            "presence_penalty": "much",
        }
        for name, value in bad.items():
            self.refused(openai.BadRequestError, name, lambda: self.complete(**{name: value}))
        self.refused(openai.BadRequestError, "messages", lambda: self.chat(messages=[]))
        self.refused(openai.BadRequestError, "messages", lambda: self.chat(messages=[{"role": "user", "content": 5}]))
        self.refused(openai.BadRequestError, None, lambda: self.complete(prompt="sea " * 200_000))
        self.refused(openai.NotFoundError, None, lambda: self.client.models.retrieve("another/model"))
        self.refused(openai.NotFoundError, None, lambda: self.client.post("/nothing/here", body={}, cast_to=object))
        # Fields that nobody knows are ignored, as OpenAI does.
        self.complete(extra_body={"no_such_field": [1, {"a": None}]})

    def refused(self, kind, field, call):
        try:
            call()
        except kind as error:
            body = error.body if isinstance(error.body, dict) else {}
            need(body.get("message") and body.get("type"), f"the error is {error.body}")
            need(
                field is None or (body.get("param") or "").startswith(field),
                f"{field}: the error names {body.get('param')}",
            )
            return
        except openai.APIError as error:
            raise AssertionError(f"{field}: {type(error).__name__} instead of {kind.__name__}: {error}") from None
        raise AssertionError(f"{field}: was not refused")

    def keys(self):
        """a wrong key is an AuthenticationError, and so is none"""
        for key in ("wrong", self.options.key + "x", self.options.key[:-1] or "y"):
            other = openai.OpenAI(base_url=self.options.url, api_key=key, max_retries=0)
            self.refused(
                openai.AuthenticationError, None, lambda: other.completions.create(model=self.model, prompt="a")
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="such as http://127.0.0.1:8080/v1")
    parser.add_argument("--key", help="API key")
    parser.add_argument("--skip", default="", help="names of checks to leave out, such as schema,echo")
    options = parser.parse_args()
    client = openai.OpenAI(base_url=options.url, api_key=options.key or "none", max_retries=0, timeout=600)
    try:
        model = client.models.list().data[0].id
    except openai.OpenAIError as error:
        sys.exit(f"error: no model at {options.url}: {error}")
    checks = Checks(client, model, options)
    names = [
        "models",
        "completes",
        "prompts",
        "streams",
        "chats",
        "logprobs",
        "echo",
        "several",
        "seeds",
        "stops",
        "bias",
        "schema",
        "refuses",
    ] + (["keys"] if options.key else [])
    failed = 0
    for name in names:
        if name in options.skip.split(","):
            continue
        check = getattr(checks, name)
        try:
            check()
            print(f"ok      {name}: {check.__doc__}")
        except (AssertionError, openai.OpenAIError, ValueError, LookupError, AttributeError, TypeError) as error:
            failed += 1
            print(f"FAILED  {name}: {check.__doc__}: {type(error).__name__}: {error}")
            print(traceback.format_exc(limit=-2), file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
