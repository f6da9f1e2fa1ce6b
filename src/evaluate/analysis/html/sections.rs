//! The sections of the page, in the order in which they are read.

use super::super::{Analysis, Dense, Kind, Layer};
use super::svg::escape;
use super::{charts, packed, text, weights};

/// A heading, a sentence that says what the drawing shows, and the drawing.
pub struct Section {
    pub title: &'static str,
    pub says: String,
    /// HTML.
    pub drawing: String,
}

/// All of them.
pub fn all(analysis: &Analysis) -> Vec<Section> {
    let sections = [
        weights::angles(analysis),
        weights::alignment(analysis),
        weights::per_bit(analysis),
        weights::errors(analysis),
        weights::prediction(analysis),
        weights::third_stage(analysis),
        weights::outliers(analysis),
        weights::planes(analysis),
        packed::scales(analysis),
        packed::counts(analysis),
        text::inputs(analysis),
        text::rounding(analysis),
        text::outputs(analysis),
        packed::padding(analysis),
    ];
    sections.into_iter().flatten().collect()
}

/// The layers whose weights are known.
pub fn dense(analysis: &Analysis) -> Vec<(&Layer, &Dense)> {
    let layers = analysis.layers.iter();
    let known = layers.filter_map(|l| Some((l, l.dense.as_ref()?)));
    known.collect()
}

/// A map of one number of each layer by kind and block; the head stands in a row of its own.
pub fn map(
    analysis: &Analysis,
    label: &str,
    log: bool,
    value: impl Fn(&Layer) -> Option<f64>,
) -> String {
    let rows: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let layers = analysis.layers.iter().filter(|l| l.kind == kind);
            (kind.word(), layers.map(&value).collect::<Vec<_>>())
        })
        .collect();
    figure(&charts::map(label, &rows, log), "columns are blocks")
}

/// A drawing with a line below.
pub fn figure(drawing: &str, caption: &str) -> String {
    let caption = match caption.is_empty() {
        true => String::new(),
        false => format!("<figcaption>{}</figcaption>", escape(caption)),
    };
    format!("<figure>{drawing}{caption}</figure>\n")
}

/// A table of text.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let row = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = row("th", &mut header.iter().copied());
    let body: String = rows
        .iter()
        .map(|cells| row("td", &mut cells.iter().map(String::as_str)))
        .collect();
    format!(
        "<div class=\"wide\"><table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )
}

/// The entries with the least and the largest value.
pub fn extremes<T>(all: impl IntoIterator<Item = (T, f64)>) -> Option<[(T, f64); 2]>
where
    T: Clone,
{
    let mut sorted: Vec<_> = all.into_iter().collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some([sorted.first()?.clone(), sorted.last()?.clone()])
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
