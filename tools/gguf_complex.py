#!/usr/bin/env python3
"""Writes tests/data/gguf/complex/: GGUF files of two-bit complex models, byte by byte as their format says, and beside
each the packed folder that holds the same codes and scales.

usage: gguf_complex.py FOLDER     needs: pip install numpy (a virtual environment)

NAME.gguf.gz is a model of one block; NAME.safetensors.gz has its tensors in the packed format of this repository, and in
its metadata `config` (config.json) and `dense`, a list of linear layers with the SHA-256 of the 32-bit floats that each
stands for. Codes and dense weights are sums of numbers of their row and of their column, so that the files compress well
though rows and columns can be told from each other. Nothing of the program is used. The same command gives the same files.
"""
import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

U32, F32, STRING = 4, 6, 8
SYMBOLS = np.array([3, 0, 2, 1], dtype=np.uint32)  # of the codes -1, +1, -i, +i
VOCAB = 16


def bf16(x):
    """The upper halves of 32-bit floats that have nothing below."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(np.uint16)


def text(s):
    return len(s.encode()).to_bytes(8, "little") + s.encode()


def gguf(keys, tensors, alignment):
    """Version 3: magic, counts, keys, tensors (dimensions innermost first), padding, data."""
    out = b"GGUF" + np.array([3], "<u4").tobytes() + np.array([len(tensors), len(keys)], "<u8").tobytes()
    for key, value in keys.items():
        kind = {str: STRING, float: F32, int: U32}[type(value)]
        out += text(key) + kind.to_bytes(4, "little")
        out += text(value) if kind == STRING else np.array([value], "<u4" if kind == U32 else "<f4").tobytes()
    data = b""
    for name, (dimensions, kind, content) in tensors.items():
        data += bytes(-len(data) % alignment)
        out += text(name) + len(dimensions).to_bytes(4, "little") + np.array(dimensions, "<u8").tobytes()
        out += kind.to_bytes(4, "little") + len(data).to_bytes(8, "little")
        data += content
    return out + bytes(-len(out) % alignment) + data


def safetensors(metadata, tensors):
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, array) in tensors.items():
        content = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def spread(random, shape, values):
    """Integers below `values`: one of row, row / 16, column and column / 16 each, added up."""
    *before, rows, columns = shape
    row, column = np.arange(rows), np.arange(columns)
    rows_of = [random.integers(0, values, (*before, count)) for count in (16, rows // 16 + 1)]
    columns_of = [random.integers(0, values, (*before, count)) for count in (16, columns // 16 + 1)]
    rows_of = rows_of[0][..., row % 16] + rows_of[1][..., row // 16]
    columns_of = columns_of[0][..., column % 16] + columns_of[1][..., column // 16]
    return (rows_of[..., None] + columns_of[..., None, :]) % values


class Layer:
    """Codes [branches, rows, columns] of a linear layer and signed scales [branches, rows, columns / 64, 2]."""

    def __init__(self, random, rows, columns, branches, scales, real=None):
        self.codes = spread(random, (branches, rows, columns), 4).astype(np.uint8)
        self.shape, self.kind = (rows, columns), scales
        # A few bits, so that every sum of scales is exact.
        values = random.integers(1, 64, (branches, rows // 64 or 1, max(columns // 64, 1), 2)) / 256
        if scales == "matrix":
            values = np.broadcast_to(values[:, :1, :1], (branches, 1, max(columns // 64, 1), 2))
        elif scales == "learned":
            values = values * random.choice([-1, 1], values.shape)
        elif branches == 4:
            values[1, 0, 0, 0] = 0  # no element of that tile was real
        self.scales = np.repeat(values, -(-rows // values.shape[1]), axis=1)[:, :rows].astype(np.float32)
        if real is not None and real[0] < rows:  # rows that pad have no scales, and any codes
            self.scales[:, real[0]:] = 0
        if real is not None and real[1] < columns:
            self.codes[:, :, real[1]:] = 3

    def per_element(self, axis):
        return np.repeat(self.scales[..., axis], -(-self.shape[1] // self.scales.shape[2]), axis=2)[..., : self.shape[1]]

    def blocks(self, branch, width):
        """Types 42 and 44 (64 columns) and 40 (256): codes b, b + 16, b + 32, b + 48 in a byte, then two scales."""
        rows, columns = self.shape
        codes = self.codes[branch].reshape(rows, columns // width, width // 64, 4, 16)
        bytes_ = sum(codes[..., t, :] << (2 * t) for t in range(4)).reshape(rows, columns // width, width // 4)
        scales = self.scales[branch][:, :: width // 64].astype("<f2")
        return np.concatenate([bytes_, scales.view(np.uint8).reshape(rows, columns // width, 4)], axis=2).tobytes()

    def bundle(self):
        """Type 46: [tiles, 4 x 16 (groups of rows and of columns), branches, 16 rows], four columns in a byte."""
        branches, (rows, columns) = len(self.codes), self.shape
        codes = self.codes.reshape(branches, rows // 64, 4, 16, columns // 64, 16, 4)
        bytes_ = sum(codes[..., t] << (2 * t) for t in range(4))
        return bytes_.transpose(1, 4, 2, 5, 0, 3), self.scales[:, ::64].transpose(1, 2, 0, 3)

    def packed(self):
        """Words [rows, matrices, stages, words] and scales of the packed format, which are positive."""
        branches, (rows, columns) = len(self.codes), self.shape
        matrices = min(2, branches)
        negative = np.where(self.codes < 2, self.per_element(0) < 0, self.per_element(1) < 0)
        symbols = SYMBOLS[self.codes ^ negative].reshape(branches, rows, columns // 16, 16)
        shifts = [8 * (j % 4) + 2 * (j // 4) for j in range(16)]
        words = sum(symbols[..., j] << np.uint32(shifts[j]) for j in range(16)).astype("<u4")
        words = words.transpose(1, 0, 2).reshape(rows, matrices, -1, columns // 16)
        scales = self.scales[:, :, :1] if self.kind == "matrix" else self.scales[:, ::64]
        scales = np.abs(scales).transpose(1, 2, 0, 3)
        return words, scales.reshape(*scales.shape[:2], matrices, -1, 2)

    def dense(self):
        """The real matrix: [A11 A12; A21 A22] of y = U x + W conj(x), or the halves of the one matrix of iFairy."""
        sign = np.where(self.codes % 2 == 1, 1, -1).astype(np.float32)
        re = np.where(self.codes < 2, sign * self.per_element(0), 0).astype(np.float32)
        im = np.where(self.codes < 2, 0, sign * self.per_element(1)).astype(np.float32)
        if len(self.codes) == 1:
            return np.concatenate([re[0], im[0]])
        half = len(self.codes) // 2
        (u, w), (v, x) = ((part[:half].sum(0), part[half:].sum(0)) for part in (re, im))
        return np.block([[u + w, x - v], [v + x, u - w]])


class Model:
    """What both files of a model hold."""

    def __init__(self, name, seed, branches, scales):
        self.name, self.random, self.branches, self.kind = name, np.random.default_rng(seed), branches, scales
        self.tensors, self.packed, self.hashes, self.alignment = {}, {}, {}, 32

    def linear(self, rows, columns, real=None):
        return Layer(self.random, rows, columns, self.branches, self.kind, real)

    def put(self, layer, theirs):
        words, scales = layer.packed()
        self.packed[f"{theirs}.codes"], self.packed[f"{theirs}.scales"] = ("U32", words), ("F32", scales)
        dense = (layer.dense() + np.float32(0)).astype("<f4")  # no zeros with a sign
        self.hashes[theirs] = hashlib.sha256(dense.tobytes()).hexdigest()

    def planes(self, name, layer, kind, width):
        stages = {1: [""], 2: [".U.s0", ".W.s0"], 4: [".U.s0", ".U.s1", ".W.s0", ".W.s1"]}[self.branches]
        for branch, stage in enumerate(stages):
            self.tensors[name + stage] = (layer.shape[::-1], kind, layer.blocks(branch, width))

    def bundles(self, name, layers, kind):
        codes, scales = zip(*(layer.bundle() for layer in layers))
        codes = np.concatenate([c.reshape(-1) for c in codes])
        scales = np.concatenate([s.reshape(-1) for s in scales])
        tiles = len(codes) // (64 * self.branches * 16)
        scales = scales.astype("<f2") if kind == 1 else bf16(scales)
        self.tensors[f"{name}.bundle.codes"] = ([16, self.branches, 64, tiles], 46, codes.tobytes())
        self.tensors[f"{name}.bundle.scales"] = ([2, self.branches, tiles], kind, scales.tobytes())

    def floats(self, width):
        rows, columns = width if isinstance(width, tuple) else (1, width)
        values = ((spread(self.random, (rows, columns), 128) - 64) / 64).astype("<f4")
        return values if isinstance(width, tuple) else values[0]

    def norm(self, name, theirs, width, halves=False):
        """A vector, which folders of complex models have in halves."""
        values = self.floats(width)
        self.tensors[name] = ([width], 0, values.tobytes())
        parts = {"_real": values[: width // 2], "_imag": values[width // 2 :]} if halves else {"": values}
        for part, half in parts.items():
            self.packed[theirs + part] = ("F32", half)

    def embedding(self, hidden, theirs=None):
        """Pairs of bfloat16: a column of the first half in the low bits, of the second in the high ones."""
        values = bf16(self.floats((VOCAB, hidden)))
        first, second = values[:, : hidden // 2], values[:, hidden // 2 :]
        pairs = first.astype("<u4") | second.astype("<u4") << 16
        self.tensors["token_embd"] = ([hidden // 2, VOCAB], 0, pairs.tobytes())
        names = {"model.embed_tokens.weight": values}
        for name, half in ({f"{theirs}_real.weight": first, f"{theirs}_imag.weight": second} if theirs else names).items():
            self.packed[name] = ("BF16", half)

    def head(self, hidden, kind=1):
        values = self.floats((VOCAB, hidden))
        values = values.astype("<f2") if kind == 1 else bf16(values)
        self.tensors["output"] = ([hidden, VOCAB], kind, values.tobytes())
        self.packed["lm_head.weight"] = ("F16" if kind == 1 else "BF16", values)

    def write(self, folder, keys, config):
        metadata = {"config": json.dumps(config), "dense": json.dumps(self.hashes)}
        for suffix, content in [
            ("gguf", gguf(keys, self.tensors, self.alignment)),
            ("safetensors", safetensors(metadata, self.packed)),
        ]:
            (folder / f"{self.name}.{suffix}.gz").write_bytes(gzip.compress(content, 9, mtime=0))


def config(model, architecture, sizes, skip_head=True):
    hidden, inner, heads, kv_heads, dim = sizes
    granularity = {"granularity": "row"} if model.kind == "matrix" else {
        "version": 3, "granularity": "tile", "tile_rows": 64, "group_size": 64}
    packed = {"quant_method": "fairy2i", "version": 1, "method": "fairy2i", "stages": max(model.branches // 2, 1),
              "skip_lm_head": skip_head}
    return {
        "architectures": [architecture], "model_type": architecture.replace("ForCausalLM", "").lower(),
        "vocab_size": VOCAB, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 1,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": dim, "hidden_act": "silu",
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "quantization_config": packed | granularity,
    }


def keys(architecture, sizes, eps, halves):
    hidden, inner, heads, kv_heads, _ = sizes
    named = {
        "context_length": 32, "embedding_length": hidden // halves, "block_count": 1,
        "feed_forward_length": inner // halves,
        "attention.head_count": heads, "attention.head_count_kv": kv_heads, f"attention.{eps}": 1e-5,
        "rope.freq_base": 10000.0, "vocab_size": VOCAB,
    }
    named = {f"{architecture}.{key}": value for key, value in named.items()}
    ends = {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}
    return {"general.architecture": architecture} | named | ends


def fairy2i(folder, name, seed, base, sizes, *, kind, branches=4, scales="tile", schema=None, real=None, head=True):
    """Fairy2i in the layout of the element type `kind`; `real`: intermediate size before padding."""
    hidden, inner, heads, kv_heads, dim = sizes
    model = Model(name, seed, branches, scales)
    q, k, n, m = heads * dim // 2, kv_heads * dim // 2, hidden // 2, inner // 2
    used = (real or inner) // 2
    shapes = {
        "attn_q": ("self_attn.q_proj", q, n), "attn_k": ("self_attn.k_proj", k, n), "attn_v": ("self_attn.v_proj", k, n),
        "attn_output": ("self_attn.o_proj", n, q), "ffn_gate": ("mlp.gate_proj", m, n),
        "ffn_up": ("mlp.up_proj", m, n), "ffn_down": ("mlp.down_proj", n, m),
    }
    padded = {"ffn_gate": (used, n), "ffn_up": (used, n), "ffn_down": (n, used)}
    layers = {}
    for layer, (theirs, rows, columns) in shapes.items():
        layers[layer] = model.linear(rows, columns, padded.get(layer))
        model.put(layers[layer], f"model.layers.0.{theirs}")
    learned = scales == "learned"
    if kind == 46:
        model.alignment = 64
        apart = list(layers)
        if learned:
            model.bundles("blk.0.attn_qkv", [layers[n] for n in apart[:3]], 30)
            apart = apart[3:]
        for layer in apart:
            model.bundles(f"blk.0.{layer}", [layers[layer]], 30 if learned else 1)
    else:
        for layer in layers:
            model.planes(f"blk.0.{layer}", layers[layer], kind, 256 if kind == 40 else 64)
    model.embedding(hidden)
    model.norm("output_norm", "model.norm.weight", hidden)
    model.norm("blk.0.attn_norm", "model.layers.0.input_layernorm.weight", hidden)
    model.norm("blk.0.ffn_norm", "model.layers.0.post_attention_layernorm.weight", hidden)
    attention = "model.layers.0.self_attn"
    biases = {"q_proj": model.floats(2 * q), "k_proj": model.floats(2 * k), "v_proj": model.floats(2 * k)}
    if base == "qwen3":
        model.norm("blk.0.attn_q_norm", f"{attention}.q_norm.weight", dim)
        model.norm("blk.0.attn_k_norm", f"{attention}.k_norm.weight", dim)
        # First halves of all three, then second halves; the layer behind attention has none.
        halves = [b[: len(b) // 2] for b in biases.values()] + [b[len(b) // 2 :] for b in biases.values()]
        model.tensors["blk.0.attn_qkv.bias"] = ([2 * q + 4 * k], 0, np.concatenate(halves).tobytes())
        biases["o_proj"] = np.zeros(hidden, "<f4")
    elif base == "qwen2":
        for layer, bias in zip(["attn_q", "attn_k", "attn_v"], biases.values()):
            model.tensors[f"blk.0.{layer}.bias"] = ([len(bias)], 0, bias.tobytes())
    for layer, bias in biases.items():
        if base != "llama":
            model.packed[f"{attention}.{layer}.bias"] = ("F32", bias)
    if head:
        model.head(hidden, 30 if learned else 1)
    else:
        layer = model.linear(VOCAB // 2, n)
        model.put(layer, "lm_head")
        model.planes("output", layer, kind, 256)
    said = keys("fairy2i", sizes, "layer_norm_rms_epsilon", 2)
    if schema is not None:
        said |= {f"fairy2i.{key}": value for key, value in {
            "schema_version": schema, "base_arch": base, "attn.layout": f"{base}_real", "quant.codebook": "{+/-1,+/-i}",
            "quant.residual_steps": branches // 2, "quant.tile_size": 64, "rope.dimension_count": dim}.items()}
    if kind == 46:
        said["general.alignment"] = 64
        said |= {f"fairy2i.weight.{key}": value for key, value in {
            "layout": "bundle_m64k64_v1", "scale_scope": "m64_k64", "scale_dtype": "bf16" if learned else "f16",
            "code_order": "m16_q4_branch_lane", "branch_order": "U0,W0" if branches == 2 else "U0,U1,W0,W1",
            "m_block": 64, "k_block": 64, "m_subtile": 16}.items()}
    of = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[base]
    fields = config(model, of, sizes, head) | ({"attention_bias": True} if base == "qwen3" else {})
    model.write(folder, said, fields)


def ifairy(folder, name, seed):
    """iFairy, all of whose sizes are complex."""
    n, m, heads, kv_heads = sizes = (256, 256, 4, 1)
    model = Model(name, seed, 1, "matrix")
    k, block = n // heads * kv_heads, "layer.0"
    for layer, theirs, rows, columns in [
        ("attn_q", "self_attn.q_proj", n, n), ("attn_k", "self_attn.k_proj", k, n), ("attn_v", "self_attn.v_proj", k, n),
        ("attn_output", "self_attn.o_proj", n, n), ("ffn_gate", "mlp.gate_proj", m, n), ("ffn_up", "mlp.up_proj", m, n),
        ("ffn_down", "mlp.down_proj", n, m),
    ]:
        linear = model.linear(rows, columns)
        model.put(linear, f"{block}.{theirs}")
        model.planes(f"blk.0.{layer}", linear, 40, 256)
    model.embedding(2 * n, "token_embeddings")
    for norm, theirs, width in [
        ("attn_norm", "pre_layernorm", n), ("attn_sub_norm", "self_attn.attn_layernorm", n),
        ("ffn_norm", "post_layernorm", n), ("ffn_sub_norm", "mlp.ffn_layernorm", m),
    ]:
        model.norm(f"blk.0.{norm}", f"{block}.{theirs}.weight", 2 * width, halves=True)
    model.norm("output_norm", "final_norm.weight", 2 * n, halves=True)
    model.head(2 * n)
    fields = config(model, "ComplexNetLM", (*sizes, n // heads)) | {"model_type": "complexnet", "hidden_act": "relu2"}
    del fields["tie_word_embeddings"]
    model.write(folder, keys("ifairy", (*sizes, 0), "layer_norm_epsilon", 1), fields)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    small = (128, 256, 2, 2, 64)
    fairy2i(folder, "bundles", 1, "llama", small, kind=46, schema=2)
    fairy2i(folder, "tiles", 2, "qwen2", small, kind=44, schema=1)
    fairy2i(folder, "early_tiles", 3, "llama", small, kind=42, schema=1)
    fairy2i(folder, "matrices", 4, "llama", (512, 512, 4, 1, 128), kind=40, scales="matrix", real=40, head=False)
    fairy2i(folder, "learned", 5, "qwen3", (128, 256, 4, 2, 64), kind=46, schema=4, branches=2, scales="learned")
    ifairy(folder, "ifairy", 6)


main()
