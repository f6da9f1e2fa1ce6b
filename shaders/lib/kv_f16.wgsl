// Keys and values kept in half precision, two a word.
alias KvPair = u32;
alias KvEight = vec4<u32>;

fn pair_of(kept: KvPair) -> vec2<f32> {
    return unpack2x16float(kept);
}

fn low_of(kept: KvEight) -> vec4<f32> {
    return vec4(unpack2x16float(kept.x), unpack2x16float(kept.y));
}

fn high_of(kept: KvEight) -> vec4<f32> {
    return vec4(unpack2x16float(kept.z), unpack2x16float(kept.w));
}

fn kept_eight(low: vec4<f32>, high: vec4<f32>) -> KvEight {
    return vec4(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}
