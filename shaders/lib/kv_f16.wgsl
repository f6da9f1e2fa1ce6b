// Keys and values that are cached in half precision, two a word.
// Provides: KvPair, KvEight, kv_pair, kv_low, kv_high, kv_eight

alias KvPair = u32;
alias KvEight = vec4<u32>;

fn kv_pair(cached: KvPair) -> vec2<f32> {
    return unpack2x16float(cached);
}

fn kv_low(cached: KvEight) -> vec4<f32> {
    return vec4(unpack2x16float(cached.x), unpack2x16float(cached.y));
}

fn kv_high(cached: KvEight) -> vec4<f32> {
    return vec4(unpack2x16float(cached.z), unpack2x16float(cached.w));
}

fn kv_eight(low: vec4<f32>, high: vec4<f32>) -> KvEight {
    return vec4(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}
