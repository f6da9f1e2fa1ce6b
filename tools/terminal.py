#!/usr/bin/env python3
"""Draws the README's picture of a terminal from what the program really prints.

    cargo build --release
    python3 tools/terminal.py --out src/docs/terminal.svg

Every command below is run, its standard output on a pseudo-terminal (as a person would see it), its standard error
beside it and drawn dimmed after it. Nothing is edited: an exit code other than 0 stops the script. Lines longer than
the window are wrapped as a terminal wraps them. The standard library is all it needs; it runs where there are
pseudo-terminals (Linux, macOS).
"""

import argparse
import os
import pty
import shlex
import subprocess
import sys
import textwrap
import threading
from html import escape

COMMANDS = [
    'generate -s 5 -n 60 "Once upon a time"',
    "bench --shape llama2-7b --activations 8 -p 512 -n 128",
]
COLUMNS = 100
CHARACTER, LINE, PAD, BAR = 7.8, 18, 16, 28  # of a monospace font of 13 px
# Readable on light and dark pages alike, as the window has a background of its own.
WINDOW, TEXT, DIM, PROMPT = "#1e2127", "#d7dae0", "#8b929e", "#7ec699"


def run(program, command):
    """Standard output and standard error of one command."""
    parent, child = pty.openpty()
    seen = []

    def read():  # beside the other pipe, so that neither fills up while the script waits for the other
        while True:
            try:
                piece = os.read(parent, 4096)
            except OSError:  # what Linux says when the other end is closed
                return
            if not piece:
                return
            seen.append(piece)

    words = [program, *shlex.split(command)]
    reader = threading.Thread(target=read)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=child, stderr=subprocess.PIPE) as process:
        os.close(child)
        reader.start()
        errors = process.stderr.read().decode()
        reader.join()
    os.close(parent)
    if process.returncode:
        sys.exit(f"{command}: exit code {process.returncode}: {errors}")
    return b"".join(seen).decode().replace("\r\n", "\n"), errors


def wrapped(text, colour):
    """Lines of the window, each with its colour."""
    for line in text.rstrip("\n").split("\n"):
        if line.lstrip().startswith("|"):  # tables keep their spaces, and are cut where the window ends
            yield line[:COLUMNS], colour
            continue
        for part in textwrap.wrap(line, COLUMNS, break_long_words=True) or [""]:
            yield part, colour


def svg(lines):
    """The picture."""
    width = round(2 * PAD + COLUMNS * CHARACTER)
    height = BAR + LINE * len(lines) + PAD
    dots = "".join(
        f'<circle cx="{PAD + 16 * i}" cy="15" r="5" fill="{c}"/>' for i, c in enumerate(["#e06c75", "#e5c07b", "#98c379"])
    )
    rows = "\n".join(
        f'<text x="{PAD}" y="{BAR + LINE * (i + 1) - 4}" fill="{colour}">{escape(line)}</text>'
        for i, (line, colour) in enumerate(lines)
        if line
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13" xml:space="preserve">
<title>fairy2i-gpu in a terminal</title>
<rect width="{width}" height="{height}" rx="8" fill="{WINDOW}"/>
{dots}
{rows}
</svg>
"""


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--program", default="target/release/fairy2i-gpu")
    options.add_argument("--out", required=True)
    options.add_argument("commands", nargs="*", default=COMMANDS)
    options = options.parse_args()
    lines = []
    for command in options.commands:
        lines += wrapped(f"$ fairy2i-gpu {command}", PROMPT)
        output, errors = run(options.program, command)
        lines += wrapped(output, TEXT)
        if errors.strip():
            lines += wrapped(errors, DIM)
        lines.append(("", TEXT))
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(svg(lines[:-1]))


if __name__ == "__main__":
    main()
