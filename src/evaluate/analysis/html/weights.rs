//! Sections about full-precision weights.

use super::super::phases::BINS;
use super::super::{Analysis, Dense, Kind, Layer};
use super::charts::{self, Axes, Series};
use super::figure::{Section, dense, extremes, figure, map, percent};
use super::svg::number;

/// Bins of a histogram of the page.
const DRAWN: usize = 64;

pub(super) fn angles(analysis: &Analysis) -> Option<Section> {
    let all = analysis
        .summary
        .averages
        .iter()
        .find(|a| a.kind.is_none())?;
    let mut drawings = String::new();
    for kind in Kind::all(&analysis.layers) {
        let of_kind: Vec<_> = dense(analysis)
            .into_iter()
            .filter(|(l, _)| l.kind == kind)
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        let series = [
            density("U", of_kind.iter().map(|(_, d)| &d.u.histogram)),
            density("W", of_kind.iter().map(|(_, d)| &d.w.histogram)),
        ];
        let axes = Axes {
            x: "angle",
            y: kind.word(),
            log: false,
            marks: &[(-0.5, "-i"), (0.0, "1"), (0.5, "i"), (1.0, "-1")],
        };
        let label = format!("angles of the weights of {} layers", kind.word());
        drawings += &figure(&charts::lines(&label, &axes, &series, [520.0, 240.0]), "");
    }
    Some(Section {
        title: "Where the weights lie on the circle",
        says: format!(
            "How many weights have an angle, 1 meaning as many as if angles were uniform. Over all layers {} of the magnitude lies within pi/16 of an axis (uniform: 25 %) and {} within pi/8 (uniform: 50 %).",
            percent(all.alignment_16th),
            percent(all.alignment)
        ),
        drawing: format!("<div class=\"many\">\n{drawings}</div>\n"),
    })
}

/// A histogram over all layers, relative to a uniform one; x in units of pi.
fn density<'a>(name: &str, histograms: impl Iterator<Item = &'a Vec<u64>>) -> Series {
    let mut sums = [0u64; DRAWN];
    for histogram in histograms {
        for (bin, count) in histogram.iter().enumerate() {
            sums[bin * DRAWN / BINS] += count;
        }
    }
    let mean = sums.iter().sum::<u64>() as f64 / DRAWN as f64;
    let point = |(bin, &count): (usize, &u64)| {
        let x = -1.0 + 2.0 * (bin as f64 + 0.5) / DRAWN as f64;
        [x, count as f64 / mean.max(1e-9)]
    };
    Series {
        name: name.to_owned(),
        points: sums.iter().enumerate().map(point).collect(),
    }
}

pub(super) fn alignment(analysis: &Analysis) -> Option<Section> {
    let each = dense(analysis)
        .into_iter()
        .map(|(l, d)| (l.short(), d.alignment()));
    let [low, high] = extremes(each)?;
    Some(Section {
        title: "Alignment with the axes, layer by layer",
        says: format!(
            "Share of the magnitude of U and W within pi/8 of an axis: from {} in {} to {} in {}; uniform angles give 50 %.",
            percent(low.1),
            low.0,
            percent(high.1),
            high.0
        ),
        drawing: map(analysis, "alignment by layer", false, |l| {
            l.dense.as_ref().map(Dense::alignment)
        }),
    })
}

/// Average error against bits, of every granularity and codebook.
pub(super) fn per_bit(analysis: &Analysis) -> Option<Section> {
    let all = analysis
        .summary
        .averages
        .iter()
        .find(|a| a.kind.is_none())?;
    let layers = dense(analysis);
    let (_, first) = layers.first()?;
    let mean = |bits: &dyn Fn(&Dense) -> [f64; 4], stage: usize| {
        layers.iter().map(|(_, d)| bits(d)[stage]).sum::<f64>() / layers.len() as f64
    };
    let mut series = Vec::new();
    for (i, errors) in all.errors.iter().enumerate() {
        let point = |t: usize| [mean(&|d| d.errors[i].bits_per_weight, t), errors[t]];
        series.push(Series {
            name: first.errors[i].granularity.clone(),
            points: (0..4).map(point).collect(),
        });
    }
    for (i, errors) in all.yardsticks.iter().enumerate() {
        let point = |t: usize| [mean(&|d| d.yardsticks[i].bits_per_weight, t), errors[t]];
        series.push(Series {
            name: first.yardsticks[i].codebook.to_owned(),
            points: (0..4).map(point).collect(),
        });
    }
    series.push(Series {
        name: "limit, normal".to_owned(),
        points: (1..=4).map(|b| [f64::from(b), 0.5f64.powi(b)]).collect(),
    });
    let [tensor, row, group, ..] = &all.errors[..] else {
        return None;
    };
    let [rotated, eight, ..] = &all.yardsticks[..] else {
        return None;
    };
    let axes = Axes {
        x: "bits of a weight, with scales and padding",
        y: "relative error",
        log: true,
        marks: &[],
    };
    Some(Section {
        title: "Error for the bits that are paid",
        says: format!(
            "Mean relative error of a weight, stages 1 to 4. At T=2 scales per tensor leave {}, per row {}, per 64 complex inputs {}; the codebook turned by pi/4 leaves {} for the same bits. At 3 bits four phases in three stages leave {}, eight phases in two stages {}. No code of independent normal numbers can do better than 2^-bits.",
            number(tensor[1]),
            number(row[1]),
            number(group[1]),
            number(rotated[1]),
            number(tensor[2]),
            number(eight[1])
        ),
        drawing: figure(
            &charts::lines("error by bits", &axes, &series, [720.0, 400.0]),
            "",
        ),
    })
}

pub(super) fn errors(analysis: &Analysis) -> Option<Section> {
    let at = |l: &Layer, t: usize| Some(l.dense.as_ref()?.tensor_errors()?[t]);
    let each = analysis
        .layers
        .iter()
        .filter_map(|l| Some((l.short(), at(l, 1)?)));
    let [low, high] = extremes(each)?;
    let mut drawing = String::new();
    for (t, title) in ["T=1", "T=2", "T=3", "T=4"].into_iter().enumerate() {
        drawing += &format!("<h3>{title}</h3>\n");
        drawing += &map(analysis, title, false, |l| at(l, t));
    }
    Some(Section {
        title: "Relative error after each stage",
        says: format!(
            "|R - R_q| / |R| with scales per tensor. After two stages it goes from {} in {} to {} in {}.",
            number(low.1),
            low.0,
            number(high.1),
            high.0
        ),
        drawing,
    })
}

pub(super) fn prediction(analysis: &Analysis) -> Option<Section> {
    let layers = dense(analysis);
    if layers.is_empty() {
        return None;
    }
    let groups: Vec<_> = Kind::all(&analysis.layers)
        .into_iter()
        .filter_map(|kind| {
            let of_kind = layers.iter().filter(|(l, _)| l.kind == kind);
            let points = of_kind
                .filter_map(|(l, d)| Some(([d.alignment(), d.tensor_errors()?[1]], l.short())));
            let points: Vec<_> = points.collect();
            (!points.is_empty()).then_some((kind.word(), points))
        })
        .collect();
    let rho = |i: usize| {
        let found = analysis.summary.correlations.get(i);
        found
            .and_then(|c| c.with_error[1])
            .map_or_else(|| "undefined".to_owned(), |r| format!("{r:.2}"))
    };
    let axes = Axes {
        x: "share of magnitude within pi/8 of an axis",
        y: "relative error at T=2",
        log: false,
        marks: &[],
    };
    Some(Section {
        title: "Does alignment tell the error?",
        says: format!(
            "Each point is a layer. The rank correlation of alignment with the error after two stages is {}; that of the kurtosis is {}, that of the largest weight over the root mean square {}.",
            rho(0),
            rho(2),
            rho(3)
        ),
        drawing: figure(&charts::scatter("alignment and error", &axes, &groups), ""),
    })
}

/// Bars of the list of gains.
const GAINS: usize = 20;

pub(super) fn third_stage(analysis: &Analysis) -> Option<Section> {
    let gains = &analysis.summary.third_stage;
    let (first, last) = (gains.first()?, gains.last()?);
    let outputs = first.outputs.is_some();
    let value = |g: &super::super::summary::Gain| g.outputs.unwrap_or(g.weights);
    let what = if outputs { "outputs" } else { "weights" };
    let short = |g: &super::super::summary::Gain| {
        let layer = analysis.layers.iter().find(|l| l.name == g.layer);
        layer.map_or_else(|| g.layer.clone(), Layer::short)
    };
    let shown = gains.iter().take(GAINS);
    let bars: Vec<_> = shown.map(|g| (short(g), value(g))).collect();
    Some(Section {
        title: "Where a third stage pays most",
        says: format!(
            "Relative error of {what} at T=2 minus that at T=3, for one more bit a weight: {} in {}, {} in {}.",
            number(value(first)),
            short(first),
            number(value(last)),
            short(last)
        ),
        drawing: figure(
            &charts::bars("gain of a third stage", &bars),
            &format!("the first {} of {}", bars.len(), gains.len()),
        ),
    })
}

pub(super) fn outliers(analysis: &Analysis) -> Option<Section> {
    let kurtosis = |l: &Layer| l.dense.as_ref()?.outliers.kurtosis;
    let largest = |l: &Layer| l.dense.as_ref()?.outliers.largest_over_rms;
    let columns = |l: &Layer| l.dense.as_ref()?.outliers.top_columns;
    let most = |value: &dyn Fn(&Layer) -> Option<f64>| {
        let each = analysis.layers.iter();
        extremes(each.filter_map(|l| Some((l.short(), value(l)?)))).map(|[_, high]| high)
    };
    let (k, m, c) = (most(&kurtosis)?, most(&largest)?, most(&columns)?);
    let mut drawing = String::new();
    drawing += "<h3>kurtosis</h3>\n";
    drawing += &map(analysis, "kurtosis", true, kurtosis);
    drawing += "<h3>largest weight over root mean square</h3>\n";
    drawing += &map(analysis, "largest weight", true, largest);
    drawing += "<h3>share of energy in the heaviest hundredth of the columns</h3>\n";
    drawing += &map(analysis, "share of columns", true, columns);
    Some(Section {
        title: "Outliers",
        says: format!(
            "A normal distribution has a kurtosis of 3; {} has {}. The largest weight of {} is {} times the root mean square. One hundredth of the inputs of {} have {} of its energy.",
            k.0,
            number(k.1),
            m.0,
            number(m.1),
            c.0,
            percent(c.1)
        ),
        drawing,
    })
}

pub(super) fn planes(analysis: &Analysis) -> Option<Section> {
    let ratio = |l: &Layer| l.dense.as_ref()?.u_over_w;
    let scales = |l: &Layer| {
        let first = l.dense.as_ref()?.scales.first()?;
        Some(f64::from(first.u[0]) / f64::from(first.u[1]))
    };
    let each = |value: &dyn Fn(&Layer) -> Option<f64>| {
        let all = analysis.layers.iter();
        extremes(all.filter_map(|l| Some((l.short(), value(l)?))))
    };
    let ([low, high], [least, most]) = (each(&ratio)?, each(&scales)?);
    let mut drawing = "<h3>|U| / |W|</h3>\n".to_owned();
    drawing += &map(analysis, "norm of U over norm of W", false, ratio);
    drawing += "<h3>s_re / s_im of the first stage of U</h3>\n";
    drawing += &map(analysis, "real over imaginary scale of U", false, scales);
    Some(Section {
        title: "U against W, real against imaginary",
        says: format!(
            "U and W of a random matrix are equally large. Here |U| / |W| goes from {} in {} to {} in {}; the two scales of U's first stage have a ratio between {} in {} and {} in {}.",
            number(low.1),
            low.0,
            number(high.1),
            high.0,
            number(least.1),
            least.0,
            number(most.1),
            most.0
        ),
        drawing,
    })
}
