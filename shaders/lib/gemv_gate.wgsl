// What gates make of two stacked layers, gate and up, whose results lie side by side in the workgroup's `values`.
// Requires: absmax_partials, dst_of, gelu_argument, gemv_row, p, sigmoid, slot_of, values, y, NOWHERE, TILE, WIDTH
// Provides: gemv_gate_real, gemv_gate_complex

// Writes silu(gate) * up of all pairs (or with GELU), and the largest magnitude among them.
fn gemv_gate_real(index: u32, first: u32, groups: u32, token: u32) {
    for (var i = 2u * index; i < 2u * p.slots; i += 2u * WIDTH) {
        let slot = slot_of(i);
        let dst = dst_of(gemv_row(slot.x, first, groups), slot.y == 1u, token);
        var value = 0.0;
        if dst != NOWHERE {
            value = values[i + 1u] * (values[i] * sigmoid(gelu_argument(values[i])));
            y[dst] = value;
        }
        values[i] = value;
    }
    workgroupBarrier();
    var top = 0u;
    for (var pair = 0u; pair < p.slots; pair += TILE) {
        let value = values[2u * min(pair + index % TILE, p.slots - 1u)];
        top = max(top, bitcast<u32>(value) & 0x7fffffffu);
    }
    top = subgroupMax(top);
    if index == 0u && first < p.n_absmax_partials {
        absmax_partials[token * p.n_absmax_partials + first] = top;
    }
}

// Writes conj(a) * up of all pairs of complex rows, where a = (re(gate)^2, im(gate)^2), and 0 where both parts of the gate
// are negative.
fn gemv_gate_complex(index: u32, first: u32, groups: u32, token: u32) {
    for (var i = 2u * index; i < 2u * p.slots; i += 2u * WIDTH) {
        let slot = slot_of(i);
        let imaginary = slot.y == 1u;
        let dst = dst_of(gemv_row(slot.x, first, groups), imaginary, token);
        if dst == NOWHERE {
            continue;
        }
        let row = i / 4u * 4u;
        let g = vec2(values[row], values[row + 2u]);
        let u = vec2(values[row + 1u], values[row + 3u]);
        let a = select(g * g, vec2(0.0), all(g < vec2(0.0)));
        y[dst] = select(a.x * u.x + a.y * u.y, a.x * u.y - a.y * u.x, imaginary);
    }
}
