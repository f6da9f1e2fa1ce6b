//! Drawings inside a page: a few shapes, whose colours the page's style sheet decides.

use std::fmt::Write;

/// `text` as it stands in HTML, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `x` with about three digits that matter.
pub(super) fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        a if !(1e-3..1e5).contains(&a) => format!("{x:.1e}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

/// A drawing; y grows downwards.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text begins, or what it is centred on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty one.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    fn push(&mut self, shape: std::fmt::Arguments<'_>) {
        let written = self.body.write_fmt(shape);
        debug_assert!(written.is_ok(), "a string takes everything");
    }

    /// A straight line.
    pub(super) fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], class: &str) {
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        ));
    }

    /// A line through all points.
    pub(super) fn path(&mut self, points: &[[f64; 2]], class: &str) {
        let mut all = String::new();
        for (i, [x, y]) in points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let written = write!(all, "{command}{x:.1} {y:.1}");
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        self.push(format_args!("<path d=\"{all}\" class=\"{class}\"/>"));
    }

    /// A rectangle of the style's colour `class`, `strength` (0 to 1) of it; `title` shows when it is pointed at.
    pub(super) fn cell(
        &mut self,
        [x, y]: [f64; 2],
        [w, h]: [f64; 2],
        class: &str,
        strength: f64,
        title: &str,
    ) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" class=\"{class}\" fill-opacity=\"{strength:.3}\"><title>{}</title></rect>",
            escape(title)
        ));
    }

    /// A point.
    pub(super) fn dot(&mut self, [x, y]: [f64; 2], class: &str, title: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" class=\"{class}\"><title>{}</title></circle>",
            escape(title)
        ));
    }

    /// A line of text.
    pub(super) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(text)
        ));
    }

    /// The drawing; `label` says what it is to those who do not see it.
    pub(super) fn finish(self, label: &str) -> String {
        let (w, h) = (self.width, self.height);
        format!(
            "<svg viewBox=\"0 0 {w:.0} {h:.0}\" style=\"max-width:{w:.0}px\" role=\"img\" aria-label=\"{}\">{}</svg>\n",
            escape(label),
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        assert_eq!(escape("a<b>\"&'"), "a&lt;b&gt;&quot;&amp;&#39;");
        let mut svg = Svg::new(10.0, 10.0);
        svg.text([0.0, 0.0], Anchor::Start, "</svg><script>");
        svg.cell([0.0; 2], [1.0; 2], "heat", 0.5, "<b>");
        let text = svg.finish("\"quoted\"");
        assert!(!text.contains("<script>") && !text.contains("<b>"));
        assert_eq!(text.matches("</svg>").count(), 1);
    }

    #[test]
    fn numbers_have_three_digits() {
        let all = [0.0, 0.12345, 1.2345, 12.345, 123.45, 1e-4, 457_352.0].map(number);
        assert_eq!(
            all,
            ["0", "0.123", "1.23", "12.3", "123", "1.0e-4", "4.6e5"]
        );
    }
}
