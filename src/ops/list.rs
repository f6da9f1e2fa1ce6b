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
    quantize::Hadamard,
    memory::Copy,
    phase::PhaseGemv,
    phase::PhaseGemvFused,
    phase::PhaseGemm,
    phase::PhaseGemmBits,
    phase::PhaseGemvFloat,
    phase::PhaseGemmFloat,
    phase::PhaseGemmCoop,
    phase::PhaseExpand,
    memory::Noise,
    embedding::TokenEmbed,
    norm::RmsNorm,
    activation::SwiGlu,
    attention::Rope,
    attention::Attention,
    attention::AttentionCoop,
    attention::AttentionSplit,
    attention::AttentionMerge,
    attention::AttentionStep,
    matmul::MatmulGemv,
    matmul::MatmulGemm,
    matmul::MatmulGemmCoop,
    matmul::MatmulGemmCoopTall,
    sampling::Argmax,
    sampling::TopK,
    sampling::Sample,
    sampling::TokenNll,
    quantize::WidelyLinearSplit,
    quantize::WidelyLinearMerge,
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
    train::lerp::Lerp,
    memory::CastF16,
    train::matmul::MatmulTrain,
    train::coop::MatmulTrainCoop,
    train::softmax::Softmax,
    train::softmax::SoftmaxBackward,
    train::norm::RmsNormBackward,
    train::norm::RmsNormWeightBackward,
    train::rope_in_place::RopeInPlace,
    train::scales::ScaleExp,
    train::scales::ScaleGradient,
    train::swiglu::SwigluBackward,
    train::embed::TokenEmbedBackward,
    train::loss::TokenLoss,
    train::distill::TokenDistill,
    train::optimizer::GradNorm,
    train::optimizer::Adamw,
    train::bf16::Bf16Pack,
    train::bf16::Bf16Unpack,
    train::block8::Block8Pack,
    train::block8::Block8Unpack,
];
