#!/usr/bin/env python3
"""Loads a server of the OpenAI interface, and measures it.

    python3 tools/load.py http://127.0.0.1:8080 --clients 32 --requests 200 --check
    python3 tools/load.py http://127.0.0.1:8080 --streams 1,8,16,32 --prompt-tokens 16 --new-tokens 128

The first form sends prompts of mixed lengths from many clients, some greedy and some sampled with a seed, and prints
tokens/s and waiting times. With --check every request is then made once more, alone and without anything cached, and
must give the same text, the same number of tokens and, for every other request, the same tokens with the same
log-probabilities to the last digit.

The second form measures decoding: N streams of equal lengths begin together, and what counts is all new tokens over the
time from the first request to the last token. It asks for nothing that llama-server does not know, so that both are
measured alike. Prompts are random token ids, so that no two share a prefix.

The standard library is all it needs. JSON on stdout, progress on stderr; the exit code is 1 if anything is wrong.
"""

import argparse
import json
import queue
import random
import statistics
import sys
import threading
import time

from serving.http_client import Refused, Server, context_of, percentile

WORDS = """
the of and to in a was that his with her it had for not as on at but be from all they she were him so when would no
which there one out up what then them into said could some who more if over time down little very old house night sea
light door captain window morning letter river mountain garden silver winter story complex number quarter turn island
lantern harbour whisper thunder bridge forest market ship road child friend question answer memory shadow summer
""".split()


def mixed_request(index, options):
    """The request number `index`: the same for the same seed, whoever sends it."""
    draw = random.Random(f"{options.seed} {index}")
    # Lengths are spread evenly over their orders of magnitude: many are short, and some are long.
    length = round(4 * (options.prompt_words / 4) ** draw.random())
    words = draw.choices(WORDS, k=length)
    if index % 4 == 3:
        # A fourth of all begins alike, as conversations with one system prompt do.
        words = (
            random.Random(options.seed).choices(WORDS, k=options.prompt_words // 4) + words[: max(1, length * 3 // 4)]
        )
    body = {"prompt": " ".join(words), "max_tokens": draw.randint(1, options.max_tokens), "temperature": 0}
    if index % 2:
        body.update(temperature=draw.choice([0.5, 0.8, 1.2]), seed=index)
        body.update(draw.choice([{"top_p": 0.9}, {"top_k": 40}, {"min_p": 0.05}, {"top_p": 0.95, "top_k": 100}, {}]))
    if index // 2 % 2:
        body["logprobs"] = 0
    return body


class Outcome:
    """What came of one request."""

    def __init__(self, begun, events):
        self.begun = begun
        self.times, self.text, self.tokens, self.logprobs, self.finish = [], "", [], [], None
        self.usage = {}
        for when, event in events:
            self.usage = event.get("usage") or self.usage
            for choice in event.get("choices") or []:
                self.finish = choice.get("finish_reason") or self.finish
                said = choice.get("logprobs") or {}
                if choice.get("text") or said.get("tokens"):
                    self.times.append(when)
                self.text += choice.get("text") or ""
                self.tokens += said.get("tokens") or []
                self.logprobs += said.get("token_logprobs") or []
        self.end = events[-1][0]
        self.first = (self.times[0] if self.times else self.end) - begun
        self.new = self.usage.get("completion_tokens")

    def answer(self):
        """What must not depend on who else is served."""
        return self.text, self.new, self.finish, self.tokens, self.logprobs


def complete(server, body):
    begun = time.monotonic()
    events = server.stream("/v1/completions", {**body, "stream_options": {"include_usage": True}})
    outcome = Outcome(begun, events)
    if outcome.finish is None or outcome.new is None:
        raise ValueError("the stream ended without a finish_reason or without usage")
    return outcome


def from_many(server, bodies, clients):
    """All requests from so many clients at once: what came of each, or what went wrong."""
    waiting = queue.SimpleQueue()
    for numbered in enumerate(bodies):
        waiting.put(numbered)
    outcomes = [None] * len(bodies)

    def client():
        while True:
            try:
                index, body = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                outcomes[index] = complete(server, body)
            except (Refused, OSError, ValueError) as error:
                outcomes[index] = error

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def compare(server, bodies, outcomes):
    """What is different when each request is made alone, in words."""
    different = []
    for index, (body, outcome) in enumerate(zip(bodies, outcomes)):
        if isinstance(outcome, Exception):
            continue
        alone = complete(server, {**body, "cache_prompt": False})
        names = ("text", "number of tokens", "finish_reason", "tokens", "log-probabilities")
        wrong = [name for name, a, b in zip(names, outcome.answer(), alone.answer()) if a != b]
        if wrong:
            different.append({"request": body, "differs": wrong, "together": outcome.text, "alone": alone.text})
        if (index + 1) % 50 == 0:
            print(f"{index + 1} of {len(bodies)} repeated alone, {len(different)} different", file=sys.stderr)
    return different


def load(server, options):
    context = context_of(server)
    if context:
        # A word is three tokens at most with any real vocabulary, and five with the smallest ones.
        options.max_tokens = min(options.max_tokens, context // 4)
        options.prompt_words = max(4, min(options.prompt_words, (context - options.max_tokens) // 7))
    bodies = [mixed_request(index, options) for index in range(options.requests)]
    begun = time.monotonic()
    outcomes = from_many(server, bodies, options.clients)
    seconds = time.monotonic() - begun
    good = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    errors = [str(outcome) for outcome in outcomes if not isinstance(outcome, Outcome)]
    gaps = [b - a for outcome in good for a, b in zip(outcome.times, outcome.times[1:])]
    firsts = [outcome.first for outcome in good]
    new = sum(outcome.new for outcome in good)
    prompt = sum(outcome.usage["prompt_tokens"] for outcome in good)
    report = {
        "clients": options.clients,
        "requests": len(bodies),
        "errors": len(errors),
        "first_errors": errors[:5],
        "seconds": round(seconds, 3),
        "prompt_tokens": prompt,
        "new_tokens": new,
        "new_tokens_per_second": round(new / seconds, 2),
        "all_tokens_per_second": round((prompt + new) / seconds, 2),
        "first_token_seconds": {"p50": percentile(firsts, 0.5), "p95": percentile(firsts, 0.95)},
        "between_tokens_seconds": {
            "p50": percentile(gaps, 0.5),
            "p95": percentile(gaps, 0.95),
            "most": max(gaps, default=None),
        },
    }
    if options.check:
        different = compare(server, bodies, outcomes)
        report.update(checked=len(good), different=len(different), first_different=different[:3])
    return report, not errors and not report.get("different")


def vocabulary_of(server):
    try:
        return int(server.get("/v1/models")["data"][0]["meta"]["n_vocab"])
    except (Refused, LookupError, TypeError, ValueError):
        return 1000


def equal_streams(server, count, options, draw):
    """Tokens/s of `count` streams of equal lengths."""
    # The first ids of a vocabulary are often control tokens.
    ids = range(min(256, options.vocabulary // 2), options.vocabulary)
    bodies = [
        {
            "prompt": draw.choices(ids, k=options.prompt_tokens),
            "max_tokens": options.new_tokens,
            "temperature": 0,
            "n_predict": options.new_tokens,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream_options": {"include_usage": True},
        }
        for _ in range(count)
    ]
    begins, ends, errors = [], [], []
    together = threading.Barrier(count)

    def one(body):
        together.wait()
        begins.append(time.monotonic())
        try:
            events = server.stream(options.path, body)
            last = events[-1][1]
            new = next(
                (e["usage"]["completion_tokens"] for _, e in events if e.get("usage")), last.get("tokens_predicted")
            )
            if new != options.new_tokens:
                raise ValueError(f"{new} tokens came, {options.new_tokens} were asked for")
            ends.append(events[-1][0])
        except (Refused, OSError, ValueError, LookupError) as error:
            errors.append(str(error))

    threads = [threading.Thread(target=one, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise ValueError(errors[0])
    return count * options.new_tokens / (max(ends) - min(begins))


def streams(server, options):
    options.vocabulary = vocabulary_of(server)
    draw = random.Random(options.seed)
    rows = []
    for count in options.streams:
        equal_streams(server, count, options, draw)
        rates = [equal_streams(server, count, options, draw) for _ in range(options.repeats)]
        row = {
            "streams": count,
            "tokens_per_second": statistics.median(rates),
            "lowest": min(rates),
            "highest": max(rates),
        }
        rows.append({name: round(value, 2) for name, value in row.items()})
        print(f"{count} streams: {rows[-1]['tokens_per_second']} tokens/s", file=sys.stderr)
    return {
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.new_tokens,
        "repeats": options.repeats,
        "rows": rows,
    }, True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--key", help="API key")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and lengths")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=64, help="most new tokens of a request")
    parser.add_argument("--prompt-words", type=int, default=200, help="words of the longest prompt")
    parser.add_argument("--check", action="store_true", help="repeat every request alone and compare")
    parser.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")], help="such as 1,8,16,32")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5, help="measured runs, after one that warms up")
    parser.add_argument("--path", default="/v1/completions", help="of --streams; llama-server has /completion too")
    options = parser.parse_args()
    server = Server(options.url, options.key)
    try:
        report, good = streams(server, options) if options.streams else load(server, options)
    except (Refused, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(report, indent=1))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
