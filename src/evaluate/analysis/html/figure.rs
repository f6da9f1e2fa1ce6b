//! What sections are made of: drawings with captions, tables, numbers.

use super::super::{Analysis, Dense, Kind, Layer};
use super::charts;
use super::svg::escape;

/// A heading, a sentence that says what the drawing shows, and the drawing.
pub(super) struct Section {
    pub title: &'static str,
    pub says: String,
    /// HTML.
    pub drawing: String,
}

/// The layers whose weights are known.
pub(super) fn dense(analysis: &Analysis) -> Vec<(&Layer, &Dense)> {
    let layers = analysis.layers.iter();
    let known = layers.filter_map(|l| Some((l, l.dense.as_ref()?)));
    known.collect()
}

/// A map of one number of each layer by kind and block; the head stands in a row of its own.
pub(super) fn map(
    analysis: &Analysis,
    label: &str,
    log: bool,
    value: impl Fn(&Layer) -> Option<f64>,
) -> String {
    let rows: Vec<_> = Kind::all(&analysis.layers)
        .into_iter()
        .map(|kind| {
            let layers = analysis.layers.iter().filter(|l| l.kind == kind);
            (kind.word(), layers.map(&value).collect::<Vec<_>>())
        })
        .collect();
    figure(&charts::map(label, &rows, log), "columns are blocks")
}

/// A drawing with a line below.
pub(super) fn figure(drawing: &str, caption: &str) -> String {
    let caption = match caption.is_empty() {
        true => String::new(),
        false => format!("<figcaption>{}</figcaption>", escape(caption)),
    };
    format!("<figure>{drawing}{caption}</figure>\n")
}

/// A table of text.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
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
pub(super) fn extremes<T>(all: impl IntoIterator<Item = (T, f64)>) -> Option<[(T, f64); 2]>
where
    T: Clone,
{
    let mut sorted: Vec<_> = all.into_iter().collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some([sorted.first()?.clone(), sorted.last()?.clone()])
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
