//! Several runs in one plot: how the perplexity of a text falls.

use super::*;

/// Height of a comparison.
const HEIGHT: u32 = 420;
/// Width of the part with the runs' names.
const NAMES: u32 = 190;
/// Beside those of single runs.
const MORE: [RGBColor; 3] = [BLUE_LINE, RGBColor(110, 110, 110), RGBColor(140, 90, 50)];

/// The SVG of the perplexity of `text` over the steps of several runs, which are given with their names; runs that
/// never measured it are left out.
///
/// # Errors
/// [`Error::Usage`] when no run has measured the text, or the plot cannot be drawn.
pub fn comparison(runs: &[(String, Vec<Step>)], text: &str) -> Result<String> {
    let measured = |(name, steps): &(String, Vec<Step>)| {
        let perplexity = |s: &Step| s.validation.get(text).copied().unwrap_or(f64::NAN);
        let line = line(steps, perplexity);
        (!line.is_empty()).then(|| (name.clone(), line))
    };
    let lines: Vec<_> = runs.iter().filter_map(measured).collect();
    if lines.is_empty() {
        return Err(Error::usage(
            format!("no run has measured a text `{text}`"),
            "name a text that the run measured, without its ending",
        ));
    }
    let mut svg = String::new();
    let drawn = draw(&lines, text, &mut svg);
    drawn.map_err(|e| Error::usage(format!("no plot: {e}"), "please report this as a bug"))?;
    Ok(svg)
}

fn draw(lines: &[(String, Line)], text: &str, svg: &mut String) -> Drawn {
    let area = SVGBackend::with_string(svg, (SIZE.0, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 - NAMES);
    let points = || lines.iter().flat_map(|(_, line)| line);
    let last = points().fold(1.0, |last: f64, &(x, _)| last.max(x));
    let mut chart = ChartBuilder::on(&left)
        .caption(format!("perplexity of {text}"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, axis(range(points().map(|&(_, y)| y))))?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("step")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&number)
        .draw()?;
    let colors = PALETTE.into_iter().chain(MORE).cycle();
    for (i, ((name, line), color)) in lines.iter().zip(colors).enumerate() {
        let line = LineSeries::new(thinned(line), color.stroke_width(2)).point_size(3);
        chart.draw_series(line)?;
        let y = 48 + 20 * i as i32;
        right.draw(&PathElement::new([(4, y), (24, y)], color.stroke_width(2)))?;
        let style = ("sans-serif", 13).into_font();
        right.draw(&Text::new(name.clone(), (32, y - 6), style))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_compared_by_a_text() {
        let run = |name: &str, best: f64| {
            let step = |step: u64| {
                let mut made = Step {
                    step,
                    ..Step::default()
                };
                if step.is_multiple_of(10) {
                    let perplexity = best + 100.0 / step as f64;
                    made.validation.insert("novels".to_owned(), perplexity);
                }
                made
            };
            (name.to_owned(), (1..=100).map(step).collect::<Vec<_>>())
        };
        let mut runs = vec![run("W2", 30.0), run("binary", 40.0)];
        runs.push(("not measured".to_owned(), vec![Step::default()]));
        let svg = comparison(&runs, "novels").unwrap();
        for word in ["W2", "binary", "perplexity of novels", "</svg>"] {
            assert!(svg.contains(word), "{word}");
        }
        assert!(!svg.contains("not measured") && !svg.contains("NaN"));
        let error = comparison(&runs, "tales").unwrap_err().to_string();
        assert!(error.contains("tales"), "{error}");
    }
}
