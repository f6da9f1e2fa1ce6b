//! What `analyze` found, as tables.

use super::report::Report;
use crate::cli::out;
use crate::evaluate::analysis::{Activity, Analysis, Dense, Layer};

/// All tables, then the summary.
pub(super) fn text(report: &Report) -> String {
    let analysis = &report.analysis;
    let mut text = format!("{}: {}\n", report.model, analysis.stored);
    for note in &analysis.notes {
        text += &format!("note: {note}\n");
    }
    let sections = [
        ("Angles, norms and outliers", shapes(analysis)),
        ("Relative errors |Rq - R| / |R|", errors(analysis)),
        ("Codes and scales", codes(analysis)),
        ("Padding", padding(report)),
        ("What enters the layers", inputs(analysis.activity.as_ref())),
        (
            "Relative errors of outputs |yq - y| / |y|",
            outputs(analysis),
        ),
        ("Averages", averages(analysis)),
        (
            "Rank correlation over layers with the relative error",
            correlations(analysis),
        ),
        (
            "A third stage: relative error at T=2 minus that at T=3",
            gains(report),
        ),
    ];
    for (title, table) in sections.into_iter().filter(|(_, table)| !table.is_empty()) {
        text += &format!("\n{title}\n{table}");
    }
    text
}

/// A table, or nothing where there are no rows.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    match rows.is_empty() {
        true => String::new(),
        false => out::table(header, rows),
    }
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |x| format!("{x:.digits$}"))
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn of_dense(analysis: &Analysis, row: impl Fn(&Layer, &Dense) -> Vec<String>) -> Vec<Vec<String>> {
    let layers = analysis.layers.iter();
    let rows = layers.filter_map(|l| Some(row(l, l.dense.as_ref()?)));
    rows.collect()
}

fn shapes(analysis: &Analysis) -> String {
    let row = |layer: &Layer, d: &Dense| {
        let first = d.scales.first();
        let ratio = |s: [f32; 2]| f64::from(s[0]) / f64::from(s[1]);
        vec![
            layer.short(),
            format!("{} x {}", layer.shape[0], layer.shape[1]),
            format!("{:.5}", d.rms),
            or_dash(d.u_over_w, 3),
            percent(d.u.near_16th.by_magnitude),
            percent(d.w.near_16th.by_magnitude),
            percent(d.u.near_8th.by_magnitude),
            percent(d.w.near_8th.by_magnitude),
            or_dash(first.map(|s| ratio(s.u)), 3),
            or_dash(first.map(|s| ratio(s.w)), 3),
            or_dash(d.outliers.largest_over_rms, 1),
            or_dash(d.outliers.kurtosis, 2),
            or_dash(d.outliers.top_columns.map(|x| 100.0 * x), 1),
            or_dash(d.outliers.top_rows.map(|x| 100.0 * x), 1),
        ]
    };
    let header = [
        "layer",
        "shape",
        "rms",
        "|U|/|W|",
        "U pi/16 %",
        "W pi/16 %",
        "U pi/8 %",
        "W pi/8 %",
        "U re/im",
        "W re/im",
        "max/rms",
        "kurtosis",
        "top col %",
        "top row %",
    ];
    let table = table(&header, &of_dense(analysis, row));
    match table.is_empty() {
        true => table,
        false => {
            table
                + "pi/16 and pi/8: share of magnitude so close to an axis (uniform angles: 25 and 50 %); re/im: s_re / s_im of the\nfirst stage; top: share of energy in the heaviest hundredth of columns and of rows\n"
        }
    }
}

fn errors(analysis: &Analysis) -> String {
    let row = |layer: &Layer, d: &Dense| {
        let mut cells = vec![layer.short()];
        let all = d.errors.iter().map(|e| e.relative_error);
        for (i, errors) in all.enumerate() {
            let stages = if i == 0 { 0..4 } else { 1..2 };
            cells.extend(stages.map(|t| or_dash(errors.map(|e| e[t]), 4)));
        }
        for (yardstick, stages) in d.yardsticks.iter().zip([1..2, 0..2]) {
            let errors = yardstick.relative_error;
            cells.extend(stages.map(|t: usize| or_dash(errors.map(|e| e[t]), 4)));
        }
        cells
    };
    let header = [
        "layer",
        "T=1",
        "T=2",
        "T=3",
        "T=4",
        "row T=2",
        "g64 T=2",
        "g128 T=2",
        "rotated T=2",
        "eight T=1",
        "eight T=2",
    ];
    let table = table(&header, &of_dense(analysis, row));
    match table.is_empty() {
        true => table,
        false => {
            table
                + "scales per tensor unless said; rotated: the codebook turned by pi/4, the same bits; eight: eight phases, 1.5 and 3 bits\n"
        }
    }
}

fn codes(analysis: &Analysis) -> String {
    let mut rows = Vec::new();
    for layer in &analysis.layers {
        let Some(codes) = &layer.codes else { continue };
        for (t, stage) in codes.stages.iter().enumerate() {
            for (plane, p) in [("U", stage.u), ("W", stage.w)] {
                let all = p.counts.iter().sum::<u64>().max(1) as f64;
                let mut row = vec![layer.short(), (t + 1).to_string(), plane.to_owned()];
                row.extend(p.scales.map(|s| format!("{s:.5}")));
                row.extend(p.counts.map(|n| percent(n as f64 / all)));
                row.push(format!("{:.3}", codes.bits_per_weight));
                rows.push(row);
            }
        }
    }
    let header = [
        "layer",
        "stage",
        "plane",
        "s_re",
        "s_im",
        "1 %",
        "i %",
        "-1 %",
        "-i %",
        "bits/weight",
    ];
    table(&header, &rows)
}

fn padding(report: &Report) -> String {
    let layers = &report.analysis.layers;
    let padded = layers
        .iter()
        .filter(|l| l.padding.odd_bytes + l.padding.word_bytes > 0.0);
    let row = |l: &Layer| {
        let p = l.padding;
        vec![
            l.short(),
            format!("{} x {}", l.shape[0], l.shape[1]),
            p.stages.to_string(),
            p.ideal_bytes.to_string(),
            p.odd_bytes.to_string(),
            p.word_bytes.to_string(),
            p.stored_bytes.to_string(),
        ]
    };
    let rows: Vec<_> = padded.map(row).collect();
    let header = [
        "layer",
        "shape",
        "stages",
        "ideal bytes",
        "odd bytes",
        "word bytes",
        "stored bytes",
    ];
    let mut text = table(&header, &rows);
    if text.is_empty() {
        return "none: all dimensions are even, and rows fill their words\n".to_owned();
    }
    for p in &report.odd_products {
        text += &format!(
            "{} x {} ({} layers): {:.2} us for a token, {} x {} {:.2} us\n",
            p.shape[0],
            p.shape[1],
            p.layers,
            p.microseconds,
            p.even_shape[0],
            p.even_shape[1],
            p.even_microseconds
        );
    }
    text
}

fn inputs(activity: Option<&Activity>) -> String {
    let Some(activity) = activity else {
        return String::new();
    };
    let rows: Vec<_> = activity
        .inputs
        .iter()
        .map(|s| {
            let kinds: Vec<_> = s.kinds.iter().map(|k| k.word()).collect();
            let block = s.block.map_or(String::new(), |b| format!("{b}."));
            vec![
                format!("{block}{}", kinds.join(",")),
                s.columns.to_string(),
                format!("{:.3}", s.largest),
                s.largest_channel.to_string(),
                s.largest_token.to_string(),
                format!("{:.4}", s.rms),
                format!("{:.1}", s.largest_over_rms),
                percent(s.top_channels),
                format!("{:.2e}", s.error_16),
                format!("{:.2e}", s.error_8),
            ]
        })
        .collect();
    let header = [
        "layers", "inputs", "largest", "channel", "token", "rms", "max/rms", "top ch %", "16 bits",
        "8 bits",
    ];
    table(&header, &rows)
}

/// The short name of the layer that is called `name`.
fn short(analysis: &Analysis, name: &str) -> String {
    let layer = analysis.layers.iter().find(|l| l.name == name);
    layer.map_or_else(|| name.to_owned(), Layer::short)
}

fn outputs(analysis: &Analysis) -> String {
    let Some(activity) = &analysis.activity else {
        return String::new();
    };
    let rows: Vec<_> = activity
        .outputs
        .iter()
        .map(|o| {
            let mut row = vec![short(analysis, &o.layer), format!("{:.4}", o.rms)];
            row.extend((0..4).map(|t| or_dash(o.by_stages.map(|e| e[t]), 4)));
            row
        })
        .collect();
    let table = table(&["layer", "rms", "T=1", "T=2", "T=3", "T=4"], &rows);
    match table.is_empty() {
        true => table,
        false => format!(
            "{table}{} tokens, scales per {}, activations {}\n",
            activity.tokens, activity.granularity, activity.activations
        ),
    }
}

fn averages(analysis: &Analysis) -> String {
    let row = |a: &crate::evaluate::analysis::Average| {
        let mut row = vec![
            a.kind.map_or("all", |k| k.word()).to_owned(),
            a.layers.to_string(),
            percent(a.alignment_16th),
            percent(a.alignment),
            format!("{:.1}", a.largest_over_rms),
            format!("{:.2}", a.kurtosis),
        ];
        row.extend(a.errors[0].map(|e| format!("{e:.4}")));
        row.extend((0..4).map(|t| or_dash(a.outputs.map(|o| o[t]), 4)));
        row
    };
    let rows: Vec<_> = analysis.summary.averages.iter().map(row).collect();
    let header = [
        "kind", "layers", "pi/16 %", "pi/8 %", "max/rms", "kurtosis", "T=1", "T=2", "T=3", "T=4",
        "out T=1", "out T=2", "out T=3", "out T=4",
    ];
    table(&header, &rows)
}

fn correlations(analysis: &Analysis) -> String {
    if analysis.summary.averages.is_empty() {
        return String::new();
    }
    let all = &analysis.summary.correlations;
    let row = |c: &crate::evaluate::analysis::Correlation| {
        let mut row = vec![c.property.to_owned()];
        row.extend(c.with_error.map(|rho| or_dash(rho, 2)));
        row
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table(&["property", "T=1", "T=2", "T=3", "T=4"], &rows)
}

/// Rows of the list of gains: more would hide what matters.
const GAINS: usize = 12;

fn gains(report: &Report) -> String {
    let all = &report.analysis.summary.third_stage;
    let row = |gain: &crate::evaluate::analysis::Gain| {
        vec![
            short(&report.analysis, &gain.layer),
            format!("{:.4}", gain.weights),
            or_dash(gain.outputs, 4),
        ]
    };
    let rows: Vec<_> = all.iter().take(GAINS).map(row).collect();
    let mut text = table(&["layer", "weights", "outputs"], &rows);
    if all.len() > GAINS {
        text += &format!("and {} more\n", all.len() - GAINS);
    }
    text
}
