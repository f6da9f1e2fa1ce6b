#!/usr/bin/env python3
"""Compares `eval tasks` with lm-evaluation-harness, which asks the same questions of a running `serve` over HTTP.

    pip install "lm-eval[api]==0.4.13" transformers
    python3 tools/lm_eval.py -m SMOLLM2 arc_easy.jsonl openbookqa.jsonl -- --activations 16
    python3 tools/lm_eval.py -m SMOLLM2 arc_easy.jsonl -- --activations 16 --stages 2 --device cpu

Files have one question a line: `query`, `choices`, and `gold`, the number of the right choice from 0. What follows `--`
is given to both `serve` and `eval tasks`; name the activations there, for which the two have other defaults in full
precision. The script starts the server on a free port and stops it at the end.

The harness tokenizes with the model folder's own tokenizer, without a begin token unless the tokenizer sets one, and
sends ids; a choice is scored as a blank and its text after the query. Its acc is ours, its acc_bytes is our acc_norm, and
its acc_norm is our acc_norm_chars. Nothing is fetched from anywhere. The exit code is 1 if an accuracy differs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from serving.http_client import Running

# Our name of each score, and the harness's.
SCORES = {"acc": "acc", "acc_norm": "acc_bytes", "acc_norm_chars": "acc_norm"}
TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_bytes, aggregation: mean, higher_is_better: true}}
"""


def prepare(files, limit, folder):
    """A task of the harness for each file, with the first `limit` questions of it; returns the files by task."""
    tasks = {}
    for file in files:
        name = "local_" + re.sub(r"\W", "_", Path(file).name.split(".")[0])
        rows = [json.loads(line) for line in Path(file).read_text().splitlines() if line.strip()][:limit]
        copy = folder / (name + ".jsonl")
        columns = ("query", "choices", "gold")
        copy.write_text("".join(json.dumps({column: row[column] for column in columns}) + "\n" for row in rows))
        (folder / (name + ".yaml")).write_text(TASK.format(name=name, file=json.dumps(str(copy))))
        tasks[name] = copy
    return tasks


def begin_token(model):
    """Whether the tokenizer sets a begin token by itself: the harness leaves it out unless it is told."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    return tokenizer.encode("a").ids != tokenizer.encode("a", add_special_tokens=False).ids


def harness(options, url, tasks, folder):
    """Scores of each task, and the log-likelihoods of each choice of each question."""
    arguments = {
        "model": "served",
        "base_url": url + "/v1/completions",
        "tokenizer": options.model,
        "tokenizer_backend": "huggingface",
        "tokenized_requests": True,
        "num_concurrent": options.concurrent,
        "max_retries": 1,
        "max_length": options.context,
        "add_bos_token": begin_token(options.model),
    }
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "local-completions",
        "--model_args",
        ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--tasks",
        ",".join(tasks),
        "--include_path",
        str(folder),
        "--output_path",
        str(folder / "out"),
        "--log_samples",
        "--batch_size",
        "4",
    ]
    offline = {name: "1" for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")}
    environment = {**os.environ, **offline, "HF_HOME": str(folder / "cache"), "OPENAI_API_KEY": "none"}
    # Elsewhere than in the folder of this script, whose name is that of the harness.
    done = subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr)
    if done.returncode:
        sys.exit(f"error: the harness ended with {done.returncode}")
    (results,) = (folder / "out").rglob("results_*.json")
    scores = json.loads(results.read_text())["results"]
    said = {}
    for task in tasks:
        (samples,) = (folder / "out").rglob(f"samples_{task}_*.jsonl")
        rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
        said[task] = [[float(choice[0]) for choice in row["filtered_resps"]] for row in rows]
    return scores, said


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="questions, .jsonl")
    parser.add_argument("--program", default="target/release/fairy2i-gpu")
    parser.add_argument("-m", "--model", required=True, help="model folder with its tokenizer.json")
    parser.add_argument("--limit", type=int, default=100, help="questions of each file")
    parser.add_argument("--context", type=int, default=2048, help="most tokens of a question with a choice")
    parser.add_argument("--concurrent", type=int, default=4, help="requests at a time")
    own = sys.argv[1:]
    both = own[own.index("--") + 1 :] if "--" in own else []
    options = parser.parse_args(own[: own.index("--")] if "--" in own else own)
    options.model = os.path.abspath(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = prepare(options.files, options.limit, folder)
        with Running(options.program, ["-m", options.model, *both]) as running:
            scores, said = harness(options, running.url, tasks, folder)
        command = [options.program, "eval", "tasks", "-m", options.model, "--json", *both, *map(str, tasks.values())]
        ours = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    wrong = 0
    for task, row in zip(tasks, ours, strict=True):
        pairs = [
            (a, b)
            for theirs, own in zip(said[task], row["questions"], strict=True)
            for a, b in zip(theirs, own["log_likelihoods"], strict=True)
        ]
        compared = {"task": task, "questions": row["n"], "log_likelihoods": len(pairs)}
        compared["largest_difference"] = max(abs(a - b) for a, b in pairs)
        for mine, theirs in SCORES.items():
            number = scores[task][theirs + ",none"]
            compared[mine] = {"eval tasks": row[mine], "harness": number}
            wrong += abs(row[mine] - number) > 1e-9
        print(json.dumps(compared))
    sys.exit(f"error: {wrong} accuracies differ" if wrong else 0)


if __name__ == "__main__":
    main()
