//! One page with plots of an [`Analysis`]: a single file that needs no other, and no network.

mod charts;
mod figure;
mod packed;
mod sections;
mod svg;
mod text;
mod weights;

use super::Analysis;
use svg::escape;

/// The page about the model that is called `model`.
pub fn page(model: &str, analysis: &Analysis) -> String {
    let mut body = String::new();
    for section in sections::all(analysis) {
        body += &format!("<h2>{}</h2>\n", escape(section.title));
        body += &format!("<p>{}</p>\n{}", escape(&section.says), section.drawing);
    }
    let notes: String = analysis
        .notes
        .iter()
        .map(|note| format!("<p class=\"note\">{}</p>\n", escape(note)))
        .collect();
    let name = escape(model);
    let stored = escape(&analysis.stored);
    let layers = analysis.layers.len();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: inside the weights</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <h1>{name}: inside the weights</h1>\n\
         <p class=\"lead\">{stored}, {layers} linear layers. A weight R is taken apart into complex U and W, y = U x + W conj(x), \
         and each is quantized to the codebook 1, i, -1, -i in up to four stages.</p>\n{notes}{body}</body>\n</html>\n",
        include_str!("style.css")
    )
}
