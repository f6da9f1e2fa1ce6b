// Keys and values that are cached as they were computed.
// Provides: KvPair, KvEight, kv_pair, kv_low, kv_high, kv_eight

alias KvPair = vec2<f32>;

struct KvEight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn kv_pair(cached: KvPair) -> vec2<f32> {
    return cached;
}

fn kv_low(cached: KvEight) -> vec4<f32> {
    return cached.low;
}

fn kv_high(cached: KvEight) -> vec4<f32> {
    return cached.high;
}

fn kv_eight(low: vec4<f32>, high: vec4<f32>) -> KvEight {
    return KvEight(low, high);
}
