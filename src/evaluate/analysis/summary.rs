//! What the layers say together.

use super::activations::Activity;
use super::layer::{Kind, Layer};
use super::weight::Dense;
use serde::Serialize;

/// Averages, correlations, and where a third stage pays.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Averages by what a layer does, and of all layers.
    pub averages: Vec<Average>,
    /// How well a property of a layer tells its error.
    pub correlations: Vec<Correlation>,
    /// What a third stage gains, by layer, most first.
    pub third_stage: Vec<Gain>,
}

/// Averages over layers, each counted once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Average {
    /// The kind, or none for all layers together.
    pub kind: Option<Kind>,
    /// Layers.
    pub layers: usize,
    /// [`Dense::alignment`].
    pub alignment: f64,
    /// Share of the magnitude within pi/16 of an axis.
    pub alignment_16th: f64,
    /// Kurtosis of R.
    pub kurtosis: f64,
    /// Largest `|R|` over its root mean square.
    pub largest_over_rms: f64,
    /// Relative errors at T = 1 to 4 by granularity, in the order of [`Dense::errors`].
    pub errors: Vec<[f64; 4]>,
    /// Relative errors at T = 1 to 4 of other codebooks, in the order of [`Dense::yardsticks`].
    pub yardsticks: Vec<[f64; 4]>,
    /// Relative errors of outputs at T = 1 to 4, if a text was given.
    pub outputs: Option<[f64; 4]>,
}

/// Spearman's rank correlation over layers of a property with the relative error per tensor at T = 1 to 4; none where
/// ranks are all the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Correlation {
    /// The property.
    pub property: &'static str,
    /// With the error at T = 1 to 4.
    pub with_error: [Option<f64>; 4],
}

/// What a third bit gains in a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// Name of the layer.
    pub layer: String,
    /// Relative error at T = 2 minus that at T = 3, per extra bit of a weight: stages are one bit each.
    pub weights: f64,
    /// The same of the relative error of its outputs, if a text was given; the list is in the order of these then.
    pub outputs: Option<f64>,
}

impl Summary {
    /// Of `layers`, and of the outputs that a text made of them.
    pub fn of(layers: &[Layer], activity: Option<&Activity>) -> Self {
        let known = |layer| Some((layer, Known::of(layer, activity)?));
        let known: Vec<(&Layer, Known<'_>)> = layers.iter().filter_map(known).collect();
        let kinds = Kind::all(layers).into_iter().map(Some).chain([None]);
        let average = |kind: Option<Kind>| {
            let fitting = known
                .iter()
                .filter(|(l, _)| kind.is_none_or(|k| k == l.kind));
            average(kind, &fitting.map(|(_, known)| known).collect::<Vec<_>>())
        };
        Self {
            averages: kinds.filter_map(average).collect(),
            correlations: correlations(&known),
            third_stage: gains(&known),
        }
    }
}

/// A layer whose weight is known and not zero.
struct Known<'a> {
    dense: &'a Dense,
    errors: [f64; 4],
    outputs: Option<[f64; 4]>,
}

impl<'a> Known<'a> {
    fn of(layer: &'a Layer, activity: Option<&Activity>) -> Option<Self> {
        let dense = layer.dense.as_ref()?;
        let output = activity.and_then(|a| a.outputs.iter().find(|o| o.layer == layer.name));
        Some(Self {
            dense,
            errors: dense.tensor_errors()?,
            outputs: output.and_then(|o| o.by_stages),
        })
    }
}

fn average(kind: Option<Kind>, layers: &[&Known<'_>]) -> Option<Average> {
    let first = layers.first()?;
    let mean = |value: &dyn Fn(&Known<'_>) -> f64| {
        layers.iter().map(|k| value(k)).sum::<f64>() / layers.len() as f64
    };
    let by_stage = |value: &dyn Fn(&Known<'_>) -> [f64; 4]| {
        std::array::from_fn(|stage| mean(&|k: &Known<'_>| value(k)[stage]))
    };
    let granularities = 0..first.dense.errors.len();
    let yardsticks = 0..first.dense.yardsticks.len();
    let outputs = layers.iter().all(|k| k.outputs.is_some());
    Some(Average {
        kind,
        layers: layers.len(),
        alignment: mean(&|k| k.dense.alignment()),
        alignment_16th: mean(&|k| {
            (k.dense.u.near_16th.by_magnitude + k.dense.w.near_16th.by_magnitude) / 2.0
        }),
        kurtosis: mean(&|k| k.dense.outliers.kurtosis.unwrap_or_default()),
        largest_over_rms: mean(&|k| k.dense.outliers.largest_over_rms.unwrap_or_default()),
        errors: granularities
            .map(|g| by_stage(&|k| k.dense.errors[g].relative_error.unwrap_or_default()))
            .collect(),
        yardsticks: yardsticks
            .map(|y| by_stage(&|k| k.dense.yardsticks[y].relative_error.unwrap_or_default()))
            .collect(),
        outputs: outputs.then(|| by_stage(&|k| k.outputs.unwrap_or_default())),
    })
}

/// A property of a layer that may tell its error.
type Property = (&'static str, fn(&Dense) -> f64);

const PROPERTIES: [Property; 6] = [
    (
        "share of magnitude within pi/8 of an axis",
        Dense::alignment,
    ),
    (
        "share of weights within pi/8 of an axis",
        Dense::alignment_by_count,
    ),
    ("kurtosis", |d| d.outliers.kurtosis.unwrap_or_default()),
    ("largest weight over rms", |d| {
        d.outliers.largest_over_rms.unwrap_or_default()
    }),
    ("share of energy in the top 1 % of columns", |d| {
        d.outliers.top_columns.unwrap_or_default()
    }),
    ("norm of U over norm of W", |d| {
        d.u_over_w.unwrap_or_default()
    }),
];

fn correlations(layers: &[(&Layer, Known<'_>)]) -> Vec<Correlation> {
    let of = |(property, value): Property| {
        let values: Vec<f64> = layers.iter().map(|(_, k)| value(k.dense)).collect();
        let with = |stage: usize| {
            let errors: Vec<f64> = layers.iter().map(|(_, k)| k.errors[stage]).collect();
            spearman(&values, &errors)
        };
        Correlation {
            property,
            with_error: std::array::from_fn(with),
        }
    };
    PROPERTIES.into_iter().map(of).collect()
}

fn gains(layers: &[(&Layer, Known<'_>)]) -> Vec<Gain> {
    let gain = |(layer, known): &(&Layer, Known<'_>)| Gain {
        layer: layer.name.clone(),
        weights: known.errors[1] - known.errors[2],
        outputs: known.outputs.map(|errors| errors[1] - errors[2]),
    };
    let mut gains: Vec<Gain> = layers.iter().map(gain).collect();
    gains.sort_by(|a, b| {
        let key = |gain: &Gain| gain.outputs.unwrap_or(gain.weights);
        key(b).total_cmp(&key(a))
    });
    gains
}

/// Spearman's rank correlation; none for fewer than three pairs, or where one side is all the same.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() < 3 || a.len() != b.len() {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let products = |x: &[f64], y: &[f64]| {
        let pairs = x.iter().zip(y);
        pairs.map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>()
    };
    let spread = products(&a, &a) * products(&b, &b);
    (spread > 0.0).then(|| products(&a, &b) / spread.sqrt())
}

/// Ranks from 0 on; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for group in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = first as f64 + (group.len() as f64 - 1.0) / 2.0;
        group.iter().for_each(|&i| ranks[i] = rank);
        first += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlations_are_those_of_a_textbook() {
        let a = [
            106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0,
        ];
        let b = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let rho = spearman(&a, &b).expect("spread");
        assert!((rho + 29.0 / 165.0).abs() < 1e-12, "{rho}");
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 4.0, 9.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
    }
}
