#!/usr/bin/env python3
"""Writes tests/data/gguf/blocks.safetensors: blocks of every GGUF type that is read, and what they stand for.

usage: gguf_blocks.py OUT.safetensors     needs: pip install gguf==0.19.0 numpy safetensors (a virtual environment)

The bytes of the blocks are random, but for their 16-bit scales, which go round the extremes: zeros of both signs, the
smallest and the largest subnormal, the smallest normal number, one, the largest number, and random ones. What they stand
for is computed by the numpy code of the package `gguf`, llama.cpp's own. The same command gives the same file.
"""
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Where the 16-bit scales of a block begin.
SCALES = {
    T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.TQ1_0: [52], T.TQ2_0: [64],
    T.F32: [], T.BF16: [],
}
EXTREMES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF]


def blocks(kind, random):
    """Ten blocks, or as many single numbers."""
    elements, size = GGML_QUANT_SIZES[kind]
    count = 10 if elements > 1 else 64
    data = random.integers(0, 256, (count, size), dtype=np.uint8)
    if kind in (T.F32, T.BF16):
        data[:, -1] &= 0xBF  # no infinity, no NaN
    for place in SCALES[kind]:
        scales = np.array(random.normal(0, 0.02, count), dtype=np.float16).view(np.uint16)
        scales[: len(EXTREMES)] = np.roll(EXTREMES, place)
        data[:, place : place + 2] = scales.view(np.uint8).reshape(count, 2)
    return data


tensors = {}
for kind in SCALES:
    data = blocks(kind, np.random.default_rng(int(kind)))
    values = dequantize(data.reshape(-1), kind)
    assert values.dtype == np.float32 and np.isfinite(values).all(), kind.name
    tensors[f"{kind.name}.blocks"] = data
    tensors[f"{kind.name}.values"] = np.ascontiguousarray(values).view(np.uint32)
save_file(tensors, sys.argv[1])
