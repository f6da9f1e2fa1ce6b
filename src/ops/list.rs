//! The list of all operations.

use super::op::Op;
use super::*;

/// Something done with every op.
pub trait Visitor {
    /// Called once per op.
    fn visit<O: Op>(&mut self);
}

/// The list of all ops.
macro_rules! list {
    ($($op:ty),* $(,)?) => {
        /// Calls `visitor` for every op there is.
        pub fn for_each(visitor: &mut impl Visitor) {
            $(visitor.visit::<$op>();)*
        }
    };
}

list![
    quantize::QuantizeAct,
    quantize::FakeQuant,
    norm::RmsNormQuantize,
    norm::RmsNormF16,
    norm::RmsNormHeads,
    quantize::Hadamard,
    memory::Copy,
    memory::CopyWithin,
    phase::PhaseGemv,
    phase::PhaseGemvFused,
    phase::PhaseGemm,
    phase::PhaseGemmBits,
    phase::PhaseGemvFloat,
    phase::PhaseGemmFloat,
    phase::PhaseGemmCoop,
    phase::PhaseExpand,
    memory::Noise,
    memory::ScatterAdd,
    sampling::Route,
    embedding::TokenEmbed,
    norm::RmsNorm,
    norm::Center,
    activation::SwiGlu,
    activation::SquaredReluGlu,
    activation::SoftCap,
    attention::Rope,
    attention::Attention,
    attention::AttentionCoop,
    attention::AttentionSplit,
    attention::AttentionMerge,
    attention::AttentionStep,
    matmul::Bias,
    matmul::MatmulGemv,
    matmul::MatmulGemm,
    matmul::MatmulGemmCoop,
    matmul::MatmulGemmCoopTall,
    sampling::Penalize,
    sampling::CountTokens,
    sampling::Argmax,
    sampling::TopK,
    sampling::Sample,
    sampling::SampleAll,
    sampling::TokenNll,
    quantize::WidelyLinearSplit,
    quantize::WidelyLinearMerge,
    quantize::ConjugateExpand,
    quantize::ConjugateFold,
    quantize::PhaseScale,
    quantize::PhaseMean,
    quantize::PhasePack,
    quantize::PhaseUnpack,
    quantize::BaselineSum,
    quantize::BaselineMean,
    quantize::BaselinePack,
    quantize::BaselineUnpack,
    calibrate::Axpy,
    memory::Gather,
    calibrate::CholeskyBlock,
    calibrate::PhaseNearest,
    calibrate::PhaseFeedback,
    calibrate::PhaseProject,
    memory::Fill,
    train::Lerp,
    memory::CastF16,
    train::MatmulTrain,
    train::MatmulTrainCoop,
    train::FlashAttention,
    train::FlashAttentionCoop,
    train::FlashAttentionBackwardQ,
    train::FlashAttentionBackwardQCoop,
    train::FlashAttentionBackwardKv,
    train::FlashAttentionBackwardKvCoop,
    train::RmsNormBackward,
    train::RmsNormWeightBackward,
    train::RmsNormHeadsBackward,
    train::RmsNormHeadsWeightBackward,
    train::RopeInPlace,
    train::ScaleExp,
    train::ScaleGradient,
    train::SwigluBackward,
    train::SoftCapBackward,
    train::BiasBackward,
    train::SquaredReluGluBackward,
    train::TokenEmbedBackward,
    train::TokenLoss,
    train::TokenDistill,
    train::GradNorm,
    train::Adamw,
    train::Bf16Pack,
    train::Bf16Unpack,
    train::Block8Pack,
    train::Block8Unpack,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What is wrong with the names of cases.
    #[derive(Default)]
    struct Names {
        checked: usize,
        wrong: Vec<String>,
    }

    /// Whether a name is settings joined by commas, each `key=value`.
    fn is_settings(name: &str) -> bool {
        name.split(',')
            .all(|setting| match setting.split_once('=') {
                Some((key, value)) => {
                    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                    !key.is_empty()
                        && key.chars().all(letter)
                        && !value.is_empty()
                        && !value.contains('=')
                }
                None => false,
            })
    }

    impl Names {
        fn check(&mut self, op: &str, kind: &str, names: Vec<String>) {
            let mut seen = BTreeSet::new();
            for name in names {
                self.checked += 1;
                if !is_settings(&name) {
                    self.wrong
                        .push(format!("{op}: {kind} `{name}` is not key=value"));
                }
                if !seen.insert(name.clone()) {
                    self.wrong
                        .push(format!("{op}: two {kind}s are called `{name}`"));
                }
            }
        }
    }

    impl Visitor for Names {
        fn visit<O: Op>(&mut self) {
            let cases = O::cases();
            for case in &cases {
                case.op.params(); // asserts what the kernels rely on
            }
            self.check(O::NAME, "case", cases.iter().map(Case::name).collect());
            let bench = O::bench_cases();
            let names = bench.iter().map(BenchCase::name).collect();
            self.check(O::NAME, "bench case", names);
        }
    }

    #[test]
    fn every_case_has_a_name_of_its_own_in_the_form_of_shapes() {
        assert!(is_settings("m=16,n=1,k=256,data=ties"));
        for wrong in ["", "m=1,", "m", "=1", "m=", "m=1=2", "M=1", "m=1, n=2"] {
            assert!(!is_settings(wrong), "{wrong}");
        }
        let mut names = Names::default();
        for_each(&mut names);
        assert!(names.wrong.is_empty(), "{}", names.wrong.join("\n"));
        assert!(names.checked > 500, "{}", names.checked);
    }

    /// How many cases of the bench were looked at.
    struct Check(usize);

    impl Visitor for Check {
        fn visit<O: Op>(&mut self) {
            for case in O::bench_cases() {
                let lengths = case.op.lengths();
                assert_eq!(
                    case.data.len(),
                    lengths.len(),
                    "{}, {}",
                    O::NAME,
                    case.name()
                );
                for (made, words) in case.data.iter().zip(lengths) {
                    if let Made::Words(given) = made {
                        assert!(given.len() >= words, "{}, {}", O::NAME, case.name());
                    }
                }
                assert!(case.op.cost().bytes > 0.0, "{}, {}", O::NAME, case.name());
                self.0 += 1;
            }
        }
    }

    #[test]
    fn every_binding_is_filled() {
        let mut check = Check(0);
        for_each(&mut check);
        assert!(check.0 > 60, "{}", check.0);
    }
}
