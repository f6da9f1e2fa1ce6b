//! `curves.svg`: losses and gradient norms over the steps.

use super::metrics::Step;
use crate::error::{Error, Result};
use plotters::coord::combinators::WithKeyPoints;
use plotters::prelude::*;
use std::ops::Range;

mod compare;

pub use compare::comparison;

const SIZE: (u32, u32) = (960, 640);
/// Part of the height that the gradient norms have.
const LOWER: u32 = 180;
/// Points of a line; more would only make the file large.
const POINTS: usize = 1500;
const PALETTE: [RGBColor; 5] = [
    RGBColor(214, 69, 65),
    RGBColor(39, 132, 78),
    RGBColor(142, 68, 173),
    RGBColor(211, 132, 0),
    RGBColor(0, 128, 150),
];
const BLUE_LINE: RGBColor = RGBColor(38, 98, 168);
const PALE: RGBColor = RGBColor(178, 202, 230);

type Line = Vec<(f64, f64)>;

/// The SVG of a run: the loss of every step and its running mean, the losses of validation texts (the logarithm of
/// their perplexity, so that all share one axis), and below the norm of the gradient. Both axes are logarithmic
/// upwards; steps whose numbers are not finite are left out.
///
/// # Errors
/// [`Error::Usage`] when the plot cannot be drawn.
pub fn curves(steps: &[Step], title: &str) -> Result<String> {
    let mut svg = String::new();
    let drawn = draw(steps, title, &mut svg);
    drawn.map_err(|e| Error::usage(format!("no plot: {e}"), "please report this as a bug"))?;
    Ok(svg)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(steps: &[Step], title: &str, svg: &mut String) -> Drawn {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(SIZE.1 - LOWER);
    let last = steps.last().map_or(1, |s| s.step.max(1)) as f64;
    let raw = line(steps, |s| s.loss);
    let mut validation: Vec<(String, Line)> = Vec::new();
    for name in steps.iter().flat_map(|s| s.validation.keys()) {
        if !validation.iter().any(|(n, _)| n == name) {
            let losses = line(steps, |s| {
                s.validation.get(name).map_or(f64::NAN, |p| p.ln())
            });
            validation.push((name.clone(), losses));
        }
    }
    losses(&upper, title, last, &raw, &validation)?;
    norms(&lower, last, &line(steps, |s| s.grad_norm))?;
    area.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn losses(area: &Area, title: &str, last: f64, raw: &Line, validation: &[(String, Line)]) -> Drawn {
    let all = validation.iter().flat_map(|(_, line)| line).chain(raw);
    let range = range(all.map(|&(_, y)| y));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, axis(range))?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .y_desc("loss (nats)")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&number)
        .draw()?;
    chart.draw_series(LineSeries::new(thinned(raw), PALE))?;
    chart
        .draw_series(LineSeries::new(
            thinned(&smoothed(raw)),
            BLUE_LINE.stroke_width(2),
        ))?
        .label("training")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLUE_LINE.stroke_width(2)));
    for (i, (name, line)) in validation.iter().enumerate() {
        let color = PALETTE[i % PALETTE.len()];
        chart
            .draw_series(LineSeries::new(thinned(line), color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

fn norms(area: &Area, last: f64, norms: &Line) -> Drawn {
    let range = range(norms.iter().map(|&(_, y)| y));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, axis(range))?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("step")
        .y_desc("gradient norm")
        .y_labels(5)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&number)
        .draw()?;
    chart.draw_series(LineSeries::new(thinned(norms), BLUE_LINE))?;
    Ok(())
}

/// Where a number is finite and positive: others have no place on a logarithmic axis.
fn line(steps: &[Step], value: impl Fn(&Step) -> f64) -> Line {
    let points = steps.iter().map(|s| (s.step as f64, value(s)));
    points.filter(|&(_, y)| y.is_finite() && y > 0.0).collect()
}

/// What holds all values, with some air.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(a, b), y| (a.min(y), b.max(y)));
    if low > high {
        return 0.1..10.0;
    }
    low * 0.95..high * 1.05
}

/// A logarithmic axis with marks that have few digits, however short it is.
fn axis(range: Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let marks = marks(&range);
    range.log_scale().with_key_points(marks)
}

/// About five numbers of one digit for each decade of a long range, or evenly spaced ones in a short range.
fn marks(range: &Range<f64>) -> Vec<f64> {
    let inside = |v: &f64| range.contains(v);
    if range.end / range.start > 5.0 {
        let decades = (range.end / range.start).log10();
        let digits: &[f64] = if decades > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let first = range.start.log10().floor() as i32;
        let powers = (0..=decades as i32 + 1).map(|e| 10f64.powi(first + e));
        return powers
            .flat_map(|power| digits.iter().map(move |d| d * power))
            .filter(inside)
            .collect();
    }
    let rough = (range.end - range.start) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|d| d * power);
    let step = steps.into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let first = (range.start / step).ceil() as i64;
    let marks = (0..12).map(|i| (first + i) as f64 * step);
    marks.filter(inside).collect()
}

/// A mean over about a fiftieth of the run, and no less than 10 steps.
fn smoothed(line: &Line) -> Line {
    let weight = 1.0 / (line.len() as f64 / 50.0).max(10.0);
    let (mut mean, mut mass) = (0.0, 0.0);
    let point = |&(x, y): &(f64, f64)| {
        mean += weight * (y - mean);
        mass += weight * (1.0 - mass);
        (x, mean / mass) // the first values count as they should, not as if zeros had come before
    };
    line.iter().map(point).collect()
}

/// At most [`POINTS`] points, each the mean of those it stands for.
fn thinned(line: &Line) -> Line {
    let width = line.len().div_ceil(POINTS).max(1);
    let mean = |points: &[(f64, f64)]| {
        let n = points.len() as f64;
        let (x, y) = points
            .iter()
            .fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        (x / n, y / n)
    };
    line.chunks(width).map(mean).collect()
}

/// Three digits.
fn number(value: &f64) -> String {
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_plot() {
        let step = |step: u64| Step {
            step,
            loss: if step == 3 {
                f64::NAN
            } else {
                9.0 / step as f64
            },
            grad_norm: 0.5,
            ..Step::default()
        };
        let mut steps: Vec<Step> = (1..4000).map(step).collect();
        steps[99]
            .validation
            .insert("novels & <tales>".to_owned(), 30.0);
        steps[1999]
            .validation
            .insert("novels & <tales>".to_owned(), 20.0);
        let svg = curves(&steps, "W2").unwrap();
        for word in [
            "<svg",
            "W2",
            "novels &amp; &lt;tales&gt;",
            "gradient norm",
            "</svg>",
        ] {
            assert!(svg.contains(word), "{word}");
        }
        assert!(svg.len() < 200_000, "{}", svg.len());
        assert!(!svg.contains("NaN"));
        for few in [&[][..], &steps[..1], &steps[2..3]] {
            assert!(curves(few, "").unwrap().contains("</svg>"));
        }
    }

    #[test]
    fn short_and_long_axes_have_marks() {
        let near = |got: Vec<f64>, want: &[f64]| {
            let same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(
                got.len() == want.len() && got.iter().zip(want).all(same),
                "{got:?}"
            );
        };
        near(marks(&(3.9..4.3)), &[3.9, 4.0, 4.1, 4.2]);
        near(marks(&(0.3..8.0)), &[0.5, 1.0, 2.0, 5.0]);
        near(marks(&(0.002..40.0)), &[0.01, 0.1, 1.0, 10.0]);
        let steps = [4.2, 4.0].map(|loss| Step {
            loss,
            grad_norm: 3.0,
            ..Step::default()
        });
        assert!(curves(&steps, "").unwrap().contains("4.2\n"));
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(number(&0.5), "0.5");
        assert_eq!(number(&12.0), "12");
        assert_eq!(number(&1234.0), "1234");
        assert_eq!(number(&0.001), "0.001");
    }
}
