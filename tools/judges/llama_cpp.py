#!/usr/bin/env python3
"""Asks llama.cpp's llama-perplexity about a model, and compares `fairy2i-gpu eval ppl` with its answer.

    python3 -m venv judges
    judges/bin/pip install torch safetensors gguf cmake ninja
    judges/bin/pip download llama-cpp-python --no-deps --no-binary llama-cpp-python
    tar xzf llama_cpp_python-*.tar.gz                     # it carries the sources of llama.cpp
    judges/bin/cmake -S llama_cpp_python-*/vendor/llama.cpp -B llama -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF
    judges/bin/ninja -C llama llama-perplexity
    judges/bin/python tools/judges/llama_cpp.py --perplexity llama/bin/llama-perplexity -m FOLDER \
        --gguf FOLDER/quantized.gguf --out RESULT.json --ours target/release/fairy2i-gpu wiki.test.raw

A GGUF of the folder's weights in float32 is written into a temporary folder: the tensors come from the folder, the
tokenizer and everything else from the first `--gguf`. llama.cpp then says the perplexity of the text in chunks of
`--block` tokens, of which it counts the second half, and compares every `--gguf` with it: `--kl-divergence`. Keys and
values are kept in float32, which is the model as it is; `--half` leaves them in llama.cpp's usual float16.

llama.cpp drops the last newline of a text, and keeps only whole chunks. `--characters` shortens the text.

RESULT.json has what llama.cpp printed, as numbers. Exit codes: 0 fine, 1 the two differ by more than `--tolerance`,
2 bad input.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def fail(message):
    """Ends the script over bad input."""
    print(message, file=sys.stderr)
    sys.exit(2)


def renamed(name):
    """What llama.cpp calls a tensor of a LLaMA checkpoint."""
    if name in OUTER:
        return OUTER[name]
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
    if layer is None or layer[2] not in NAMES:
        fail(f"{name}: no tensor of a LLaMA model without biases")
    return f"blk.{layer[1]}.{NAMES[layer[2]]}.weight"


def paired(rows, heads):
    """Rows of queries or keys in llama.cpp's order: the two numbers of a rotation beside each other."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def write_float32(model, like, out):
    """Writes the folder's weights in float32, with everything but the weights from the GGUF `like`."""
    import gguf
    import numpy
    import torch
    from safetensors import safe_open

    reader = gguf.GGUFReader(like)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    heads = {
        "attn_q": reader.fields["llama.attention.head_count"].contents(),
        "attn_k": reader.fields["llama.attention.head_count_kv"].contents(),
    }
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for shard in sorted(model.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            for name in file.keys():
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                ours, values = renamed(name), file.get_tensor(name).to(torch.float32).numpy()
                kind = ours.split(".")[-2]
                values = paired(values, heads[kind]) if kind in heads else values
                writer.add_tensor(ours, numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ask(options, words):
    """What llama-perplexity prints, the seconds that it takes, and the seconds of processors that it uses."""
    command = [options.perplexity, "-c", options.block, "-b", options.block, "-t", options.threads]
    command = [str(word) for word in [*command, *options.cache, *words]]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        fail(f"{options.perplexity}: {error}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = done.stdout.decode(errors="replace")
    if done.returncode:
        fail(f"{' '.join(command)}: exit code {done.returncode}\n{printed[-2000:]}")
    times = {"seconds": time.monotonic() - began, "cpu_seconds": after.ru_utime - before.ru_utime}
    return printed, times


def perplexity(options, model, logits):
    """What llama.cpp says about one file, whose probabilities go into the file `logits`."""
    printed, times = ask(options, ["-m", model, "-f", options.text, "--kl-divergence-base", logits])
    final = re.search(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)", printed)
    if final is None:
        fail(f"{model}: llama-perplexity printed no estimate\n{printed[-2000:]}")
    chunks = len(re.findall(r"\[\d+\][\d.]+,", printed))
    answer = {"ppl": float(final[1]), "standard_error": float(final[2]), "chunks": chunks}
    return answer | {"tokens": chunks * options.block} | times


def divergence(options, other, logits):
    """What llama.cpp says about `other` against the file whose probabilities are in `logits`, as it names it."""
    printed, times = ask(options, ["-m", other, "--kl-divergence-base", logits, "--kl-divergence"])
    line = re.compile(r"^ *(\S[^:\n]*?) *: +(-?[\d.]+) *%?(?: *± +([\d.]+))?(?: *%)?$", re.MULTILINE)
    numbers = line.findall(printed[printed.find("====== Perplexity statistics") :])
    if not numbers:
        fail(f"{other}: llama-perplexity printed no divergence\n{printed[-2000:]}")
    return times | {
        " ".join(name.split()): [float(value), float(error)] if error else float(value)
        for name, value, error in numbers
    }


def version(options):
    """What llama.cpp says about itself."""
    try:
        done = subprocess.run([options.perplexity, "--version"], capture_output=True, check=False)
    except OSError as error:
        fail(f"{options.perplexity}: {error}")
    return (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()


def ours(options):
    """What `fairy2i-gpu eval ppl` says by the protocol of llama-perplexity."""
    command = [options.ours, "eval", "ppl", "-m", options.model, "--protocol", "llama-perplexity"]
    command += ["--block", options.block, "--json", *options.argument, options.text]
    began = time.monotonic()
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True)
        (answer,) = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        fail(f"{options.ours}: {error}")
    return answer | {"seconds": time.monotonic() - began}


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path, metavar="TEXT")
    parser.add_argument("-m", "--model", type=Path, required=True, help="Hugging Face folder of a LLaMA")
    parser.add_argument("--gguf", type=Path, action="append", required=True, help="quantized file of the same model")
    parser.add_argument("--perplexity", type=Path, required=True, help="llama.cpp's llama-perplexity")
    parser.add_argument("--block", type=int, default=512, help="tokens of a chunk [512]")
    parser.add_argument("--characters", type=int, help="only the first so many characters of the text")
    parser.add_argument("--threads", type=int, default=2, help="threads of llama.cpp [2]")
    parser.add_argument("--half", action="store_true", help="keys and values in float16")
    parser.add_argument("--skip-divergence", action="store_true", help="perplexities only")
    parser.add_argument("--out", type=Path, help="where llama.cpp's answers go, as JSON")
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument("--ours", metavar="PROGRAM", help="fairy2i-gpu, to be compared with llama.cpp")
    parser.add_argument(
        "--argument", action="append", default=[], help="one more word for fairy2i-gpu, as --argument=--device"
    )
    parser.add_argument("--tolerance", type=float, default=5e-3, help="of the perplexity, relative [0.005]")
    options = parser.parse_args()
    if options.out and options.out.exists() and not options.force:
        parser.error(f"{options.out} exists; --force replaces it")
    return options


def main():
    options = arguments()
    options.cache = [] if options.half else ["-ctk", "f32", "-ctv", "f32", "-fa", "off"]
    answer = {"llama.cpp": version(options), "model": str(options.model), "text": str(options.text)}
    answer |= {"characters": options.characters, "block": options.block}
    answer |= {"keys_and_values": "f16" if options.half else "f32"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            whole = options.text.read_bytes().decode("utf-8")
        except (OSError, ValueError) as error:
            fail(f"{options.text}: {error}")
        # Both programs get the same bytes, without the last newline, which llama.cpp would drop.
        options.text = folder / "text"
        options.text.write_bytes(whole[: options.characters].removesuffix("\n").encode())
        full = folder / "float32.gguf"
        write_float32(options.model, options.gguf[0], full)
        answer["float32"] = perplexity(options, full, folder / "logits")
        for other in [] if options.skip_divergence else options.gguf:
            answer[other.name] = divergence(options, other, folder / "logits")
        mine = ours(options) if options.ours else None
    if options.out:
        options.out.write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()
    if mine:
        reference = answer["float32"]
        difference = mine["ppl"] / reference["ppl"] - 1
        print(f"llama.cpp   {reference['ppl']:.4f} ± {reference['standard_error']:.4f}  {reference['seconds']:.1f} s")
        error = mine["ppl"] * mine["standard_error"]  # ours is of the mean negative log-likelihood
        print(f"fairy2i-gpu {mine['ppl']:.4f} ± {error:.4f}  {mine['seconds']:.1f} s  {difference:+.3%}")
        if abs(difference) > options.tolerance:
            sys.exit(1)


if __name__ == "__main__":
    main()
