#!/usr/bin/env python3
"""Asks EleutherAI's lm-evaluation-harness about a model, and compares `fairy2i-gpu eval tasks` with its answers.

    python3 -m venv judges
    judges/bin/pip install torch transformers lm-eval accelerate
    judges/bin/python tools/judges/harness.py -m FOLDER --out RESULT.json arc_easy_test.jsonl piqa_val.jsonl
    judges/bin/python tools/judges/harness.py -m FOLDER --reference RESULT.json --ours target/release/fairy2i-gpu \
        arc_easy_test.jsonl piqa_val.jsonl

The harness runs its own Hugging Face backend on the CPU in float32 and needs no network. The files are JSON lines:

    {"query": ..., "choices": [...], "gold": 0}                          any multiple choice
    {"goal": ..., "choices": [...], "gold": 0}                           PIQA
    {"sentence": "... _ ...", "option1": ..., "option2": ..., "gold": 0} WinoGrande

ARC (a file whose name begins with `arc_`), PIQA and WinoGrande are asked through the harness's own task definitions:
the rows are turned back into the columns of the hub, so that the prompts are the harness's and not ours, and a `query`
that the file has is compared with what the harness made of it. Every other file is asked with its `query` as it stands.

Few-shot examples (`--shots`) are drawn by the harness, seed 1234, from `--pool` or else from the file's rows after the
last one that is asked.

RESULT.json has per task `n`, `acc`, `acc_norm` (per character, as the harness normalizes), `acc_bytes` (per byte),
standard errors, and per question the prompt, the continuations and the log-likelihood of each in nats.

Exit codes: 0 fine, 1 the two disagree, 2 bad input.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[variable] = "1"  # before the libraries are imported, which read these once

QUERY = re.compile(r"Question: (.*)\nAnswer:", re.DOTALL)
# What the harness calls a score, and what `fairy2i-gpu` does.
SCORES = {"acc": "acc", "acc_norm": "acc_norm_chars", "acc_bytes": "acc_norm"}
MULTIPLE_CHOICE = [
    {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in SCORES
]


def fail(message):
    """Ends the script over bad input."""
    print(message, file=sys.stderr)
    sys.exit(2)


def arc_row(row):
    """A row in the hub's columns of ARC, which the harness's own prompt is made of."""
    question = QUERY.fullmatch(row["query"])
    if question is None:
        fail(f"{row.get('id', row['query'][:40])}: the query is not of the form 'Question: ...\\nAnswer:'")
    labels = [chr(ord("A") + index) for index in range(len(row["choices"]))]
    return {
        "question": question[1],
        "choices": {"text": row["choices"], "label": labels},
        "answerKey": labels[row["gold"]],
    }


def piqa_row(row):
    """A row in the hub's columns of PIQA."""
    return {"goal": row["goal"], "sol1": row["choices"][0], "sol2": row["choices"][1], "label": row["gold"]}


def winogrande_row(row):
    """A row in the hub's columns of WinoGrande, whose answers are the texts "1" and "2"."""
    return {key: row[key] for key in ("sentence", "option1", "option2")} | {"answer": str(row["gold"] + 1)}


def plain_row(row):
    """A row that is asked as it stands."""
    return {key: row[key] for key in ("query", "choices", "gold")}


def form(path, row):
    """The harness's definition that a file is asked through (none: as it stands), and what makes its rows from ours."""
    if "sentence" in row:
        return "winogrande/default.yaml", winogrande_row
    if "goal" in row:
        return "piqa/piqa.yaml", piqa_row
    if "query" not in row:
        fail(f"{path}: a row has none of 'query', 'goal' and 'sentence'")
    return ("arc/arc_easy.yaml", arc_row) if path.stem.startswith("arc_") else (None, plain_row)


def read(path):
    """The rows of a file of JSON lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}")
    if not rows:
        fail(f"{path}: no rows")
    return rows


def definition(path, rows, options, folder):
    """Writes the harness's configuration of one file, and the data that it names, into `folder`."""
    import lm_eval.tasks

    base, change = form(path, rows[0])
    pool = read(options.pool) if options.pool else rows[options.limit :]
    if options.shots and not pool:
        fail(f"{path}: no rows are left for the examples; ask fewer (--limit) or name another file (--pool)")
    files = {"asked": rows[: options.limit], "pool": pool or rows[:1]}
    for split, part in files.items():
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(change(row)) + "\n" for row in part)
    config = {
        "task": path.stem,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(folder / f"{split}.jsonl") for split in files}},
        "training_split": "pool",
    }
    # The harness draws one example more for a task without a test split, so each task keeps the kind of split it has.
    splits = {"arc/arc_easy.yaml": {"validation_split": None, "test_split": "asked"}}
    config |= splits.get(base, {"validation_split": "asked"})
    if base:
        config["include"] = str(Path(lm_eval.tasks.__file__).parent / base)
    else:
        config |= {"output_type": "multiple_choice", "doc_to_text": "query", "doc_to_choice": "choices"}
        config |= {"doc_to_target": "gold"}
    if "sentence" not in rows[0]:  # WinoGrande's two fills have one continuation: there is nothing to normalize by
        config["metric_list"] = MULTIPLE_CHOICE
    written = folder / "task.yaml"
    written.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return base, written


def ask(model, path, options):
    """What the harness says about one file."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    rows = read(path)
    with tempfile.TemporaryDirectory() as folder:
        base, config = definition(path, rows, options, Path(folder))
        answer = lm_eval.simple_evaluate(
            model=model,
            tasks=[str(config)],
            task_manager=TaskManager(include_defaults=False),
            num_fewshot=options.shots,
            log_samples=True,
        )
    (name,) = answer["samples"]
    samples = sorted(answer["samples"][name], key=lambda sample: sample["doc_id"])
    scores = {}
    for metric in SCORES:
        if f"{metric},none" in answer["results"][name]:
            scores[metric] = answer["results"][name][f"{metric},none"]
            scores[f"{metric}_stderr"] = answer["results"][name][f"{metric}_stderr,none"]
    questions = []
    for row, sample in zip(rows, samples):
        pairs = [(argument[0], argument[1]) for argument in sample["arguments"]]
        if "query" in row and not pairs[0][0].endswith(row["query"]):
            fail(f"{path}, question {sample['doc_id']}: the harness asks {pairs[0][0]!r}, the file {row['query']!r}")
        questions.append(
            {
                "contexts": [pair[0] for pair in (pairs if "sentence" in row else pairs[:1])],
                "continuations": [pair[1] for pair in pairs],
                "gold": row["gold"],
                "log_likelihoods": [response[0] for response in sample["filtered_resps"]],
            }
        )
    about = {"task": path.stem, "definition": base, "n": len(samples), "shots": options.shots}
    return about | scores | {"questions": questions}


def judge(options):
    """Everything that the harness says."""
    import lm_eval
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(options.threads)
    model = HFLM(pretrained=str(options.model), dtype="float32", device="cpu", batch_size=options.batch)
    versions = {"lm_eval": lm_eval.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    # A prefix in front of every prompt (bos) is the tokenizer's decision, so the record says what it decided.
    prefix = model.tok_encode("")
    tasks = [ask(model, path, options) for path in options.files]
    return {"model": str(options.model), "versions": versions, "prefix_tokens": prefix, "tasks": tasks}


def ours(options, path):
    """What `fairy2i-gpu eval tasks` says about the same questions of one file."""
    command = [options.ours, "eval", "tasks", "-m", options.model, "--offset", 0, "--limit", options.limit, "--json"]
    with tempfile.TemporaryDirectory() as folder:
        if options.shots:
            pool = Path(folder) / path.name
            rows = read(options.pool) if options.pool else read(path)[options.limit :]
            pool.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            command += ["--shots", options.shots, "--examples", pool]
        command += [*options.argument, path]
        try:
            done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True)
            (answer,) = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            fail(f"{options.ours}: {error}")
    return answer


def best(scores):
    """Index of the greatest score, the first of equals."""
    return max(range(len(scores)), key=lambda index: scores[index])


def compare(theirs, mine, tolerance):
    """Prints both about one file beside each other; whether they agree."""
    agree = theirs["n"] == mine["n"]
    for score, name in SCORES.items():
        if score in theirs:
            error = f"± {theirs[score + '_stderr']:.4f}"
            print(f"{theirs['task']:20} {theirs['n']:>5} {score:9} {theirs[score]:.4f} {error} {mine[name]:>12.4f}")
            agree &= abs(theirs[score] - mine[name]) < 1e-9
    worst, where, changed = 0.0, 0, 0
    for index, (a, b) in enumerate(zip(theirs["questions"], mine["questions"], strict=True)):
        changed += best(a["log_likelihoods"]) != best(b["log_likelihoods"])
        pairs = zip(a["log_likelihoods"], b["log_likelihoods"], strict=True)
        difference = max(abs(x - y) for x, y in pairs)
        if difference > worst:
            worst, where = difference, index
    print(f"{'':26} log-likelihoods differ by at most {worst:.2e} (question {where}), {changed} choices")
    return agree and worst <= tolerance


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl")
    parser.add_argument("-m", "--model", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--limit", type=int, default=100, help="questions of each file, from its first row on [100]")
    parser.add_argument("--shots", type=int, default=0, help="examples in front of every question [0]")
    parser.add_argument("--pool", type=Path, help="file that the examples are drawn from")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch [2]")
    parser.add_argument("--batch", type=int, default=8, help="sequences of a forward pass [8]")
    parser.add_argument("--out", type=Path, help="where the harness's answers go, as JSON")
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument("--reference", type=Path, help="what --out wrote: the harness is not asked again")
    parser.add_argument("--ours", metavar="PROGRAM", help="fairy2i-gpu, to be compared with the harness")
    parser.add_argument(
        "--argument", action="append", default=[], help="one more word for fairy2i-gpu, as --argument=--device"
    )
    parser.add_argument("--tolerance", type=float, default=1e-2, help="of a log-likelihood, in nats [0.01]")
    options = parser.parse_args()
    if options.limit < 1 or options.shots < 0:
        parser.error("--limit is at least 1, --shots at least 0")
    if options.out and options.out.exists() and not options.force:
        parser.error(f"{options.out} exists; --force replaces it")
    if not (options.out or options.ours):
        parser.error("nothing to do: give --out, --ours, or both")
    return options


def main():
    options = arguments()
    if options.reference:
        answer = json.loads(options.reference.read_text(encoding="utf-8"))
        by_name = {task["task"]: task for task in answer["tasks"]}
        missing = [path.stem for path in options.files if path.stem not in by_name]
        if missing:
            fail(f"{options.reference}: nothing about {', '.join(missing)}")
        tasks = [by_name[path.stem] for path in options.files]
        if any((task["n"], task["shots"]) != (options.limit, options.shots) for task in tasks):
            fail(f"{options.reference}: of another --limit or other --shots")
    else:
        answer = judge(options)
        tasks = answer["tasks"]
    if options.out:
        options.out.write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for task in tasks:
        scores = {key: value for key, value in task.items() if key.startswith("acc")}
        print(task["task"], task["n"], json.dumps(scores), file=sys.stderr)
    if options.ours:
        print(f"{'task':20} {'n':>5} {'score':9} {'harness':15} {'fairy2i-gpu':>12}")
        agree = [compare(task, ours(options, path), options.tolerance) for task, path in zip(tasks, options.files)]
        if not all(agree):
            sys.exit(1)


if __name__ == "__main__":
    main()
