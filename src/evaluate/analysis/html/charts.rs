//! Kinds of plots: lines, points, bars, and maps of blocks and kinds of layers.

use super::svg::{Anchor, Svg, number};

/// A line of a plot.
pub(super) struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points, x rising.
    pub points: Vec<[f64; 2]>,
}

/// What the axes of a plot say.
pub(super) struct Axes<'a> {
    /// Name of the x axis.
    pub x: &'a str,
    /// Name of the y axis.
    pub y: &'a str,
    /// Whether y is logarithmic.
    pub log: bool,
    /// Marks of the x axis: where and what; evenly spaced numbers if there are none.
    pub marks: &'a [(f64, &'a str)],
}

/// Colours of series that the style sheet knows.
pub(super) const COLORS: usize = 9;

const LEFT: f64 = 58.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;
/// Strength of the darkest cell of a map, on which numbers can still be read.
const DARKEST: f64 = 0.62;

/// Values to pixels along one axis.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, log: bool, from: f64, to: f64) -> Self {
        let fitting = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = fitting.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = match (low <= high, log) {
            (false, _) => (1.0, 2.0),
            (true, true) => (low / 1.15, high * 1.15),
            (true, false) => {
                let margin = 0.06 * (high - low).max(1e-9 * high.abs()).max(1e-30);
                (low - margin, high + margin)
            }
        };
        Self {
            low,
            high,
            log,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let place = match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + place.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values, about five of them.
    fn marks(&self) -> Vec<f64> {
        if self.log && self.high / self.low > 4.0 {
            let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let all = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(d)));
            return all.filter(|v| (self.low..=self.high).contains(v)).collect();
        }
        let raw = (self.high - self.low) / 5.0;
        let decade = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade);
        let step = step.into_iter().find(|s| *s >= raw).unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        let marks = (first..first + 12).map(|i| i as f64 * step);
        marks.take_while(|v| *v <= self.high).collect()
    }
}

/// The frame of a plot with its axes.
struct Frame {
    svg: Svg,
    x: Scale,
    y: Scale,
}

fn frame(size: [f64; 2], legend: f64, axes: &Axes<'_>, points: &[[f64; 2]]) -> Frame {
    let [width, height] = size;
    let (right, bottom) = (width - legend - 10.0, height - BOTTOM);
    let x = Scale::new(points.iter().map(|p| p[0]), false, LEFT, right);
    let y = Scale::new(points.iter().map(|p| p[1]), axes.log, bottom, TOP);
    let mut svg = Svg::new(width, height);
    for mark in y.marks() {
        let at = y.at(mark);
        svg.line([LEFT, at], [right, at], "grid");
        svg.text([LEFT - 6.0, at + 4.0], Anchor::End, &short(mark));
    }
    let numbers = x.marks();
    let plain = numbers.iter().map(|&m| (m, short(m)));
    let given = axes.marks.iter().map(|&(m, text)| (m, text.to_owned()));
    let marks: Vec<_> = match axes.marks.is_empty() {
        true => plain.collect(),
        false => given.collect(),
    };
    for (mark, text) in marks {
        let at = x.at(mark);
        svg.line([at, TOP], [at, bottom], "grid");
        svg.text([at, bottom + 16.0], Anchor::Middle, &text);
    }
    svg.line([LEFT, bottom], [right, bottom], "axis");
    svg.text([(LEFT + right) / 2.0, height - 8.0], Anchor::Middle, axes.x);
    svg.text([2.0, TOP - 3.0], Anchor::Start, axes.y);
    Frame { svg, x, y }
}

/// A round number without the zeros at its end.
fn short(mark: f64) -> String {
    let text = number(mark);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn legend<'a>(svg: &mut Svg, x: f64, names: impl Iterator<Item = &'a str>) {
    for (i, name) in names.enumerate() {
        let y = TOP + 12.0 + 19.0 * i as f64;
        let class = format!("key k{}", i % COLORS);
        svg.line([x, y - 4.0], [x + 16.0, y - 4.0], &class);
        svg.text([x + 22.0, y], Anchor::Start, name);
    }
}

/// Lines with points.
pub(super) fn lines(label: &str, axes: &Axes<'_>, series: &[Series], size: [f64; 2]) -> String {
    let points: Vec<_> = series.iter().flat_map(|s| s.points.clone()).collect();
    let room = if series.len() > 1 { 150.0 } else { 0.0 };
    let mut frame = frame(size, room, axes, &points);
    let dots = series.iter().all(|s| s.points.len() < 20);
    for (i, one) in series.iter().enumerate() {
        let place = |p: &[f64; 2]| [frame.x.at(p[0]), frame.y.at(p[1])];
        let placed: Vec<_> = one.points.iter().map(place).collect();
        let color = format!("k{}", i % COLORS);
        frame.svg.path(&placed, &format!("series {color}"));
        for (at, p) in placed.iter().zip(&one.points).filter(|_| dots) {
            let title = format!("{}: {} at {}", one.name, number(p[1]), number(p[0]));
            frame.svg.dot(*at, &format!("dot {color}"), &title);
        }
    }
    if series.len() > 1 {
        let names = series.iter().map(|s| s.name.as_str());
        legend(&mut frame.svg, size[0] - room + 4.0, names);
    }
    frame.svg.finish(label)
}

/// A point of a plot, and what it is.
pub(super) type Point = ([f64; 2], String);

/// Points in groups that have names.
pub(super) fn scatter(label: &str, axes: &Axes<'_>, groups: &[(&str, Vec<Point>)]) -> String {
    let size = [720.0, 360.0];
    let points = groups.iter().flat_map(|(_, g)| g.iter().map(|p| p.0));
    let mut frame = frame(size, 110.0, axes, &points.collect::<Vec<_>>());
    for (i, (_, group)) in groups.iter().enumerate() {
        for (p, title) in group {
            let at = [frame.x.at(p[0]), frame.y.at(p[1])];
            frame.svg.dot(at, &format!("dot k{}", i % COLORS), title);
        }
    }
    let names = groups.iter().map(|(name, _)| *name);
    legend(&mut frame.svg, size[0] - 100.0, names);
    frame.svg.finish(label)
}

/// Horizontal bars with their names and values.
pub(super) fn bars(label: &str, bars: &[(String, f64)]) -> String {
    let (width, step) = (720.0, 22.0);
    let names = bars.iter().map(|(name, _)| name.chars().count());
    let left = 14.0 + 7.2 * names.max().unwrap_or(0) as f64;
    let most = bars.iter().fold(1e-30, |most: f64, (_, v)| most.max(*v));
    let mut svg = Svg::new(width, step * bars.len() as f64 + 8.0);
    for (i, (name, value)) in bars.iter().enumerate() {
        let y = 4.0 + step * i as f64;
        let long = (value / most).clamp(0.0, 1.0) * (width - left - 70.0);
        svg.text([left - 8.0, y + 14.0], Anchor::End, name);
        svg.cell([left, y + 2.0], [long, step - 6.0], "bar", 1.0, name);
        svg.text(
            [left + long + 6.0, y + 14.0],
            Anchor::Start,
            &number(*value),
        );
    }
    svg.finish(label)
}

/// A map of kinds of layers (rows) and blocks (columns); the darker, the larger.
pub(super) fn map(label: &str, rows: &[(&str, Vec<Option<f64>>)], log: bool) -> String {
    let columns = rows.iter().map(|(_, r)| r.len()).max().unwrap_or(1).max(1);
    let (left, high) = (58.0, 22.0);
    let wide = ((720.0 - left) / columns as f64).clamp(6.0, 64.0);
    let mut svg = Svg::new(720.0, high * rows.len() as f64 + 62.0);
    let all: Vec<f64> = rows
        .iter()
        .flat_map(|(_, r)| r.iter().flatten().copied())
        .collect();
    let scale = Scale::new(all.iter().copied(), log, 0.04, DARKEST);
    for (i, (name, row)) in rows.iter().enumerate() {
        let y = 4.0 + high * i as f64;
        svg.text([left - 8.0, y + 15.0], Anchor::End, name);
        for (block, value) in row.iter().enumerate() {
            let Some(value) = value else { continue };
            let x = left + wide * block as f64;
            let title = match row.len() {
                1 => format!("{name}: {}", number(*value)),
                _ => format!("block {block}, {name}: {}", number(*value)),
            };
            let size = [wide - 1.0, high - 1.0];
            svg.cell([x, y], size, "heat", scale.at(*value), &title);
            if wide > 40.0 {
                svg.text([x + wide / 2.0, y + 15.0], Anchor::Middle, &number(*value));
            }
        }
    }
    let y = 4.0 + high * rows.len() as f64;
    let every = (28.0 / wide).ceil() as usize;
    for block in (0..columns).step_by(every.max(1)) {
        let x = left + wide * (block as f64 + 0.5);
        svg.text([x, y + 14.0], Anchor::Middle, &block.to_string());
    }
    key(&mut svg, [left, y + 30.0], &scale, &all);
    svg.finish(label)
}

/// What the colours of a map mean.
fn key(svg: &mut Svg, [x, y]: [f64; 2], scale: &Scale, all: &[f64]) {
    let (low, high) = all
        .iter()
        .fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    if low > high {
        return;
    }
    let steps = 24;
    for i in 0..steps {
        let part = i as f64 / (steps - 1) as f64;
        let value = match scale.log && low > 0.0 {
            true => low * (high / low).powf(part),
            false => low + part * (high - low),
        };
        let at = [x + 70.0 + 6.0 * f64::from(i), y];
        svg.cell(at, [6.0, 12.0], "heat", scale.at(value), &number(value));
    }
    svg.text([x + 64.0, y + 11.0], Anchor::End, &number(low));
    let right = x + 76.0 + 6.0 * f64::from(steps);
    svg.text([right, y + 11.0], Anchor::Start, &number(high));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        let scale = Scale::new([0.13, 0.94].into_iter(), false, 0.0, 1.0);
        let marks = scale.marks();
        assert!((3..=8).contains(&marks.len()), "{marks:?}");
        assert!(marks.iter().all(|m| (scale.low..=scale.high).contains(m)));
        let log = Scale::new([0.01, 3.0].into_iter(), true, 0.0, 1.0);
        assert!(log.marks().contains(&0.1));
        assert!(log.at(0.01) < log.at(0.1));
    }

    #[test]
    fn equal_and_missing_values_are_drawn() {
        let nothing = map("m", &[("q", vec![None]), ("k", vec![])], false);
        assert!(!nothing.contains("NaN"));
        let equal = map("m", &[("q", vec![Some(2.0); 3])], true);
        assert!(!equal.contains("NaN") && equal.contains("block 2"));
        let axes = Axes {
            x: "x",
            y: "y",
            log: true,
            marks: &[],
        };
        let one = Series {
            name: "s".into(),
            points: vec![[1.0, 0.0]],
        };
        assert_eq!(
            [2.0, 0.05, 150.0, 1e-7].map(short),
            ["2", "0.05", "150", "1.0e-7"]
        );
        assert!(!lines("l", &axes, &[one], [300.0, 200.0]).contains("NaN"));
    }
}
