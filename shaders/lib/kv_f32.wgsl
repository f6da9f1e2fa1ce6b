// Keys and values kept in f32.
alias KvPair = vec2<f32>;

struct KvEight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn pair_of(kept: KvPair) -> vec2<f32> {
    return kept;
}

fn low_of(kept: KvEight) -> vec4<f32> {
    return kept.low;
}

fn high_of(kept: KvEight) -> vec4<f32> {
    return kept.high;
}

fn kept_eight(low: vec4<f32>, high: vec4<f32>) -> KvEight {
    return KvEight(low, high);
}
