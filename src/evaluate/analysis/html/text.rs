//! Sections about what a text does to the model.

use super::super::activations::InputStats;
use super::super::{Activity, Analysis, Layer};
use super::charts;
use super::figure::{Section, extremes, figure, map};
use super::svg::number;

/// A map of one number of each stack of layers by block.
fn stacks(activity: &Activity, label: &str, value: fn(&InputStats) -> f64) -> String {
    let mut rows: Vec<(String, Vec<Option<f64>>)> = Vec::new();
    for stats in &activity.inputs {
        let name = kinds(stats);
        match rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, row)) => row.push(Some(value(stats))),
            None => rows.push((name, vec![Some(value(stats))])),
        }
    }
    let rows: Vec<_> = rows.iter().map(|(n, r)| (n.as_str(), r.clone())).collect();
    figure(&charts::map(label, &rows, true), "columns are blocks")
}

fn kinds(stats: &InputStats) -> String {
    let words: Vec<_> = stats.kinds.iter().map(|k| k.word()).collect();
    words.join(" ")
}

/// `3.down`, `q k v of block 3` and the like.
fn place(stats: &InputStats) -> String {
    match stats.block {
        Some(block) => format!("{} of block {block}", kinds(stats)),
        None => kinds(stats),
    }
}

pub(super) fn inputs(analysis: &Analysis) -> Option<Section> {
    let activity = analysis.activity.as_ref()?;
    let each = |value: fn(&InputStats) -> f64| {
        extremes(activity.inputs.iter().map(|s| (s, value(s)))).map(|[_, high]| high)
    };
    let (largest, peak) = (each(|s| s.largest)?, each(|s| s.largest_over_rms)?);
    let mut drawing = "<h3>largest magnitude</h3>\n".to_owned();
    drawing += &stacks(activity, "largest input", |s| s.largest);
    drawing += "<h3>largest over root mean square, mean over tokens</h3>\n";
    drawing += &stacks(activity, "peaks of tokens", |s| s.largest_over_rms);
    drawing += "<h3>share of energy in the heaviest hundredth of the channels</h3>\n";
    drawing += &stacks(activity, "share of channels", |s| s.top_channels);
    Some(Section {
        title: "What enters the layers",
        says: format!(
            "Over {} tokens the largest input of all is {}, at {}, channel {}, token {}. Tokens are most peaked at {}, where the largest input is on average {} times the root mean square.",
            activity.tokens,
            number(largest.1),
            place(largest.0),
            largest.0.largest_channel,
            largest.0.largest_token,
            place(peak.0),
            number(peak.1)
        ),
        drawing,
    })
}

pub(super) fn rounding(analysis: &Analysis) -> Option<Section> {
    let activity = analysis.activity.as_ref()?;
    let each = |value: fn(&InputStats) -> f64| {
        extremes(activity.inputs.iter().map(|s| (s, value(s)))).map(|[_, high]| high)
    };
    let (eight, sixteen) = (each(|s| s.error_8)?, each(|s| s.error_16)?);
    let mut drawing = "<h3>8 bits</h3>\n".to_owned();
    drawing += &stacks(activity, "error of 8 bits", |s| s.error_8);
    drawing += "<h3>16 bits</h3>\n";
    drawing += &stacks(activity, "error of 16 bits", |s| s.error_16);
    Some(Section {
        title: "What rounding the inputs loses",
        says: format!(
            "Relative error of inputs rounded token by token: at most {} with 8 bits, at {}, and at most {} with 16 bits, at {}.",
            number(eight.1),
            place(eight.0),
            number(sixteen.1),
            place(sixteen.0)
        ),
        drawing,
    })
}

pub(super) fn outputs(analysis: &Analysis) -> Option<Section> {
    let activity = analysis.activity.as_ref()?;
    let output = |name: &str| activity.outputs.iter().find(|o| o.layer == name);
    let asked = |l: &Layer| Some((l.short(), output(&l.name)?.relative_error?));
    let [low, high] = extremes(analysis.layers.iter().filter_map(asked))?;
    let mut drawing = String::new();
    for (t, title) in ["T=1", "T=2", "T=3", "T=4"].into_iter().enumerate() {
        drawing += &format!("<h3>{title}</h3>\n");
        drawing += &map(analysis, title, false, |l| {
            Some(output(&l.name)?.by_stages?[t])
        });
    }
    Some(Section {
        title: "What quantizing does to the outputs of single layers",
        says: format!(
            "Relative error of a layer's output for the full-precision model's input, scales per {}, activations {}. With T={} it goes from {} in {} to {} in {}; above 1 the output is worse than none.",
            activity.granularity,
            activity.activations,
            activity.stages,
            number(low.1),
            low.0,
            number(high.1),
            high.0
        ),
        drawing,
    })
}
