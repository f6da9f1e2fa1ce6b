//! Rotary embeddings in GGUF files: a base, a kind of scaling, and tensors of factors that divide the frequencies.

use super::keys::Keys;
use crate::error::Result;
use crate::files::json::show;
use serde_json::{Map, Value, json};
use std::f64::consts::TAU;

/// Puts the fields that say how positions are rotated, in heads of `dim` values.
pub(super) fn rope(keys: &Keys<'_>, dim: u64, map: &mut Map<String, Value>) -> Result<()> {
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let rotated = keys.count("rope.dimension_count")?.unwrap_or(dim);
    map.insert("rope_theta".to_owned(), theta.into());
    if rotated != dim {
        let part = rotated as f64 / dim as f64;
        map.insert("partial_rotary_factor".to_owned(), part.into());
    }
    let scaling = scaling(keys, theta, rotated)?;
    let original = keys.count("rope.scaling.original_context_length")?;
    if keys.architecture == "phi3" || !scaling.is_null() {
        let original = original.filter(|_| scaling["rope_type"] != "llama3");
        if let Some(original) = original {
            map.insert(
                "original_max_position_embeddings".to_owned(),
                original.into(),
            );
        }
    }
    map.insert("rope_scaling".to_owned(), scaling);
    Ok(())
}

/// `rope_scaling`.
fn scaling(keys: &Keys<'_>, theta: f64, rotated: u64) -> Result<Value> {
    const FREQS: &str = "rope_freqs.weight";
    if let Some(factors) = keys.factors(FREQS)? {
        let what = "are factors that LLaMA 3's rotary scaling does not make";
        return llama3(theta, rotated, &factors).ok_or_else(|| keys.error_of(FREQS, what));
    }
    let long = keys.factors("rope_factors_long.weight")?;
    if let (Some(long), Some(short)) = (long, keys.factors("rope_factors_short.weight")?) {
        return long_rope(keys, &long, &short);
    }
    let factor = keys.number("rope.scaling.factor")?;
    let factor = factor.or(keys.number("rope.scale_linear")?);
    let _ = keys.get("rope.scaling.finetuned"); // a note on training, whatever its value
    match (keys.text("rope.scaling.type")?, factor) {
        (None | Some("none"), None | Some(1.0)) | (Some("linear"), None) => Ok(Value::Null),
        (None | Some("linear"), Some(factor)) => {
            Ok(json!({"rope_type": "linear", "factor": factor}))
        }
        (Some("yarn"), Some(factor)) => yarn(keys, factor),
        (Some(kind), _) => {
            let what = format!("`{}` is not supported; linear and yarn are", show(kind));
            Err(keys.error("rope.scaling.type", what))
        }
    }
}

/// YaRN, with the values of its paper where none are stated.
fn yarn(keys: &Keys<'_>, factor: f64) -> Result<Value> {
    let mut map = Map::new();
    map.insert("rope_type".to_owned(), "yarn".into());
    map.insert("factor".to_owned(), factor.into());
    for (field, key) in [
        ("beta_fast", "rope.scaling.yarn_beta_fast"),
        ("beta_slow", "rope.scaling.yarn_beta_slow"),
        (
            "original_max_position_embeddings",
            "rope.scaling.original_context_length",
        ),
    ] {
        if let Some(number) = keys.number(key)? {
            let whole = number.fract() == 0.0;
            let value = if whole {
                json!(number as u64)
            } else {
                json!(number)
            };
            map.insert(field.to_owned(), value);
        }
    }
    // llama.cpp multiplies what the paper has by this.
    let more = keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    if more != 1.0 {
        let usual = 0.1 * factor.ln() + 1.0;
        map.insert("attention_factor".to_owned(), (more * usual).into());
    }
    Ok(map.into())
}

/// LongRoPE. Its factor of attention follows from the two contexts; another one is stated.
fn long_rope(keys: &Keys<'_>, long: &[f32], short: &[f32]) -> Result<Value> {
    let digits = |all: &[f32]| -> Vec<f64> { all.iter().copied().map(digits).collect() };
    let mut map = Map::new();
    map.insert("rope_type".to_owned(), "longrope".into());
    map.insert("long_factor".to_owned(), digits(long).into());
    map.insert("short_factor".to_owned(), digits(short).into());
    let context = keys.required("context_length")? as f64;
    let original = keys.required("rope.scaling.original_context_length")? as f64;
    let scale = context / original;
    let usual = match scale > 1.0 {
        true => (1.0 + scale.ln() / original.ln()).sqrt(),
        false => 1.0,
    };
    let factor = keys.number("rope.scaling.attn_factor")?.unwrap_or(usual);
    if (factor / usual - 1.0).abs() > 1e-5 {
        map.insert("attention_factor".to_owned(), factor.into());
    }
    Ok(map.into())
}

/// A 32-bit float in the digits that give it back.
fn digits(x: f32) -> f64 {
    format!("{x:e}").parse().unwrap_or_else(|_| x.into())
}

/// LLaMA 3's scaling, of which files keep nothing but the divisors of the frequencies.
///
/// Long wavelengths are divided by `factor`, the largest divisor. Between, `1 / divisor` is `(1 - s) / factor + s` with
/// `s` linear in the inverse wavelength: `s = (original / wavelength - low) / (high - low)`. Only the ratios of
/// `original`, `low` and `high` matter; `low` is set to 1, as all known models have it. `None` for other divisors.
fn llama3(theta: f64, rotated: u64, divisors: &[f32]) -> Option<Value> {
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    if factor == 1.0 {
        return Some(Value::Null);
    }
    let inverse = |i: usize| theta.powf(-2.0 * i as f64 / rotated as f64) / TAU;
    let share = |divisor: f32| {
        let factor = 1.0 / f64::from(factor);
        (1.0 / f64::from(divisor) - factor) / (1.0 - factor)
    };
    let points = divisors.iter().enumerate();
    let points = points.filter(|(_, d)| **d > 1.0 && **d < factor);
    let points: Vec<_> = points.map(|(i, d)| (inverse(i), share(*d))).collect();
    let (original, high) = match points[..] {
        [(x0, s0), .., (x1, s1)] => {
            let slope = (s1 - s0) / (x1 - x0);
            let low = slope * x0 - s0;
            ((slope / low).round(), 1.0 + 1.0 / low)
        }
        _ => (8192.0, 4.0),
    };
    let high = (high * 1000.0).round() / 1000.0;
    let expected = |i: usize| {
        let share = (original * inverse(i) - 1.0) / (high - 1.0);
        let share = share.clamp(0.0, 1.0);
        1.0 / ((1.0 - share) / f64::from(factor) + share)
    };
    let close = |(i, d): (usize, &f32)| (f64::from(*d) / expected(i) - 1.0).abs() < 1e-4;
    if divisors.len() as u64 != rotated / 2 || !divisors.iter().enumerate().all(close) {
        return None;
    }
    Some(json!({
        "rope_type": "llama3",
        "factor": digits(factor),
        "low_freq_factor": 1.0,
        "high_freq_factor": high,
        "original_max_position_embeddings": original as u64,
    }))
}

/// The divisors of the frequencies of heads of `dim` values in LLaMA 3's scaling: `factor` for wavelengths above the first
/// bound, 1 for those below the second, and between them what is linear in the inverse wavelength.
pub(super) fn divisors(theta: f64, dim: usize, factor: f64, [long, short]: [f64; 2]) -> Vec<f32> {
    let divisor = |i: usize| {
        let wavelength = TAU * theta.powf(2.0 * i as f64 / dim as f64);
        let share = (long / wavelength - 1.0) / (long / short - 1.0);
        let share = share.clamp(0.0, 1.0);
        (1.0 / ((1.0 - share) / factor + share)) as f32
    };
    (0..dim / 2).map(divisor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_is_found_again_in_its_divisors() {
        for (dim, factor, high, original) in [
            (64, 32.0, 4.0, 8192.0),
            (128, 8.0, 4.0, 8192.0),
            (128, 16.0, 8.0, 4096.0),
        ] {
            let made = divisors(500_000.0, dim, factor, [original, original / high]);
            let found = llama3(500_000.0, dim as u64, &made).expect("it is LLaMA 3's");
            assert_eq!(found["factor"], factor);
            assert_eq!(found["high_freq_factor"], high);
            assert_eq!(found["original_max_position_embeddings"], original as u64);
        }
        let mut other = divisors(500_000.0, 128, 8.0, [8192.0, 2048.0]);
        other[3] = 1.5;
        assert!(llama3(500_000.0, 128, &other).is_none());
        assert_eq!(llama3(500_000.0, 8, &[1.0; 4]), Some(Value::Null));
    }
}
