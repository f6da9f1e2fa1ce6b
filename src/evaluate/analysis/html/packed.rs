//! Sections about codes: what packed layers hold, and what padding costs.

use super::super::{Analysis, Layer};
use super::figure::{Section, extremes, figure, map, percent, table};
use super::svg::number;

/// Mean of the scales of a stage of a packed layer.
fn scale(layer: &Layer, stage: usize) -> Option<f64> {
    let stage = layer.codes.as_ref()?.stages.get(stage)?;
    let all = [stage.u.scales, stage.w.scales];
    Some(all.as_flattened().iter().sum::<f64>() / 4.0)
}

pub(super) fn scales(analysis: &Analysis) -> Option<Section> {
    let each = analysis.layers.iter();
    let [low, high] = extremes(each.filter_map(|l| Some((l.short(), scale(l, 0)?))))?;
    let most = analysis.layers.iter().filter_map(|l| l.codes.as_ref());
    let stages = most.map(|c| c.stages.len()).max()?;
    let mut drawing = String::new();
    for stage in 0..stages {
        let title = format!("stage {}", stage + 1);
        drawing += &format!("<h3>{title}</h3>\n");
        drawing += &map(analysis, &title, true, |l| scale(l, stage));
    }
    Some(Section {
        title: "Scales of the packed layers",
        says: format!(
            "Mean of s_re and s_im of U and W. Those of the first stage go from {} in {} to {} in {}.",
            number(low.1),
            low.0,
            number(high.1),
            high.0
        ),
        drawing,
    })
}

/// Share of the codes of a packed layer, all stages together, that are 1 or -1.
fn real_share(layer: &Layer) -> Option<f64> {
    let codes = layer.codes.as_ref()?;
    let planes = codes.stages.iter().flat_map(|s| [s.u.counts, s.w.counts]);
    let (real, all) = planes.fold((0, 0), |(r, a), c| {
        (r + c[0] + c[2], a + c.iter().sum::<u64>())
    });
    (all > 0).then(|| real as f64 / all as f64)
}

pub(super) fn counts(analysis: &Analysis) -> Option<Section> {
    let each = analysis.layers.iter();
    let [low, high] = extremes(each.filter_map(|l| Some((l.short(), real_share(l)?))))?;
    Some(Section {
        title: "Codes of the packed layers",
        says: format!(
            "Share of the codes that are 1 or -1, the others being i or -i: from {} in {} to {} in {}.",
            percent(low.1),
            low.0,
            percent(high.1),
            high.0
        ),
        drawing: map(analysis, "share of real codes", false, real_share),
    })
}

pub(super) fn padding(analysis: &Analysis) -> Option<Section> {
    let layers = &analysis.layers;
    let padded = |l: &&Layer| l.padding.odd_bytes + l.padding.word_bytes > 0.0;
    let sum = |value: fn(&Layer) -> f64| layers.iter().map(value).sum::<f64>();
    let stored = sum(|l| l.padding.stored_bytes as f64);
    let (odd, word) = (sum(|l| l.padding.odd_bytes), sum(|l| l.padding.word_bytes));
    if odd + word == 0.0 {
        return None;
    }
    let row = |l: &Layer| {
        let p = l.padding;
        vec![
            l.short(),
            format!("{} x {}", l.shape[0], l.shape[1]),
            p.ideal_bytes.to_string(),
            p.odd_bytes.to_string(),
            p.word_bytes.to_string(),
            p.stored_bytes.to_string(),
        ]
    };
    let rows: Vec<_> = layers.iter().filter(padded).map(row).collect();
    let header = [
        "layer",
        "shape",
        "ideal bytes",
        "for odd sizes",
        "for whole words",
        "stored bytes",
    ];
    Some(Section {
        title: "What padding costs",
        says: format!(
            "Of {stored} bytes of codes, {odd} are the zero rows and columns of odd dimensions ({}) and {word} fill up words of 16 codes ({}).",
            percent(odd / stored),
            percent(word / stored)
        ),
        drawing: figure(&table(&header, &rows), ""),
    })
}
