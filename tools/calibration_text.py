#!/usr/bin/env python3
"""Makes src/builtin/calibration.jsonl.zst, the text of `quantize --calibrate builtin`.

    tools/calibration_text.py corpus.jsonl.zst > src/builtin/calibration.jsonl.zst

The corpus has one JSON object a line: `text`, and where it is from in `meta.source` (novels, wikipedia, tinystories).
Passages are drawn with a fixed seed. Features the program `zstd`.
"""
import json
import random
import subprocess
import sys

# Characters of each source: encyclopedia text first, since its vocabulary is the widest.
SHARES = {"wikipedia": 320_000, "novels": 200_000, "tinystories": 80_000}
# Characters of a passage of a novel.
PASSAGE = 2_000


def passages(source, documents, draw):
    draw.shuffle(documents)
    for text in documents:
        if source != "novels":
            yield text.strip()
            continue
        paragraphs = text.split("\n\n")
        start = draw.randrange(len(paragraphs))
        passage = ""
        for paragraph in paragraphs[start:]:
            passage += paragraph + "\n\n"
            if len(passage) >= PASSAGE:
                break
        yield passage[: 2 * PASSAGE].strip()


def main():
    raw = subprocess.run(["zstd", "-dc", sys.argv[1]], capture_output=True, check=True).stdout
    by_source = {}
    for line in raw.decode().splitlines():
        document = json.loads(line)
        by_source.setdefault(document["meta"]["source"], []).append(document["text"])
    draw = random.Random(42)
    chosen = []
    for source, wanted in SHARES.items():
        for text in passages(source, by_source[source], draw):
            if wanted <= 0:
                break
            if len(text) >= 200:
                chosen.append({"text": text, "meta": {"source": source}})
                wanted -= len(text)
    draw.shuffle(chosen)
    lines = "".join(json.dumps(passage, ensure_ascii=False) + "\n" for passage in chosen)
    packed = subprocess.run(["zstd", "-19", "-c"], input=lines.encode(), capture_output=True, check=True)
    sys.stdout.buffer.write(packed.stdout)


if __name__ == "__main__":
    main()
