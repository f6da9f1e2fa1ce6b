//! Properties of quantizing: losslessness of the form, shapes, granularities, pieces, refusals, speed.

mod common;
#[path = "quantize/conjugate.rs"]
mod conjugate;
#[path = "quantize/tiles.rs"]
mod tiles;

use fairy2i_gpu::Error;
use fairy2i_gpu::backend::{Backend, Cpu, Gpu, Options, block_on};
use fairy2i_gpu::model::quantize::{dequantize, quantize};
use fairy2i_gpu::model::{Form, Granularity, Method, Packed};
use fairy2i_gpu::ops::quantize::{merge, split};
use fairy2i_gpu::ops::{hash32, noise};
use proptest::prelude::*;

fn on<B: Backend>(
    backend: &B,
    r: &[f32],
    (out, inputs): (usize, usize),
    method: Method,
    granularity: Granularity,
) -> fairy2i_gpu::Result<Packed> {
    let packed = quantize(
        backend,
        "w",
        r,
        Form::WidelyLinear,
        out,
        inputs,
        method,
        granularity,
        false,
    );
    block_on(backend, packed)
}

fn dense<B: Backend>(backend: &B, packed: &Packed) -> Vec<f32> {
    block_on(backend, dequantize(backend, packed)).expect("it unpacks")
}

/// `|a - b| / |b|`
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let power: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    (error / power).sqrt()
}

/// Rows, and runs of 32 columns, of very different magnitudes.
fn structured(out: usize, inputs: usize) -> Vec<f32> {
    let mut r = noise(11, out * inputs, 0.1);
    for (i, x) in r.iter_mut().enumerate() {
        let (row, column) = (
            i / inputs % out.div_ceil(2),
            i % inputs % inputs.div_ceil(2),
        );
        *x *= (1 << (hash32(row as u32, 5) % 5)) as f32;
        *x *= (1 << (hash32((column / 32) as u32, 6) % 5)) as f32;
    }
    r
}

fn any_method() -> impl Strategy<Value = Method> {
    prop_oneof![
        (1usize..=4).prop_map(|stages| Method::Phase { stages }),
        Just(Method::Binary),
        Just(Method::Ternary),
    ]
}

fn any_granularity() -> impl Strategy<Value = Granularity> {
    prop_oneof![
        Just(Granularity::Tensor),
        Just(Granularity::Row),
        (1usize..5).prop_map(|g| Granularity::Group(16 * g)),
        (1usize..12, 1usize..5).prop_map(|(rows, g)| tile(rows, 16 * g)),
    ]
}

/// Tiles of these rows and columns.
fn tile(rows: usize, columns: usize) -> Granularity {
    Granularity::Tile { rows, columns }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers_survive_split_and_merge(blocks in prop::array::uniform4(-1_000_000i32..1_000_000)) {
        let blocks = blocks.map(|x| x as f32);
        prop_assert_eq!(merge(split(blocks)), blocks);
    }

    #[test]
    fn weights_survive_split_and_merge(blocks in prop::array::uniform4(-1f32..1.0)) {
        let top = blocks.iter().fold(0f32, |top, x| top.max(x.abs()));
        for (a, b) in merge(split(blocks)).into_iter().zip(blocks) {
            prop_assert!((a - b).abs() <= 2.0 * f32::EPSILON * top, "{} became {}", b, a);
        }
    }

    #[test]
    fn shapes_and_errors_are_as_said(
        out in 1usize..40,
        inputs in 1usize..150,
        method in any_method(),
        granularity in any_granularity(),
        seed: u32,
    ) {
        let granularity = match method {
            Method::Phase { .. } => granularity,
            _ => Granularity::Tensor,
        };
        let r = noise(seed, out * inputs, 0.05);
        let cpu = Cpu::new();
        let packed = on(&cpu, &r, (out, inputs), method, granularity).unwrap();
        let (codes, scales) = Packed::shapes(method, Form::WidelyLinear, granularity, out, inputs);
        prop_assert_eq!(packed.codes.len(), codes.iter().product::<usize>());
        prop_assert_eq!(packed.scales.len(), scales.iter().product::<usize>());
        prop_assert!(packed.scales.iter().all(|s| s.is_finite() && *s >= 0.0));
        let back = dense(&cpu, &packed);
        let said = packed.relative_error.unwrap();
        let is = distance(&back, &r);
        prop_assert!((said - is).abs() <= 1e-5 * is.max(1e-2), "{} said, {} is", said, is);
        // a stage is a prefix of more stages
        if let Method::Phase { stages: 1 } = method {
            let two = on(&cpu, &r, (out, inputs), Method::Phase { stages: 2 }, granularity).unwrap();
            for (one, two) in packed.scales.chunks(2).zip(two.scales.chunks(4)) {
                prop_assert_eq!(one, &two[..2]);
            }
        }
    }
}

#[test]
fn finer_scales_are_better() {
    let r = structured(128, 256);
    for stages in [1, 2] {
        let error = |granularity| {
            let method = Method::Phase { stages };
            let packed = on(&Cpu::new(), &r, (128, 256), method, granularity).unwrap();
            packed.relative_error.unwrap()
        };
        let (tensor, row) = (error(Granularity::Tensor), error(Granularity::Row));
        let group = error(Granularity::Group(32));
        let tile = error(tile(16, 32));
        println!("T={stages}: tensor {tensor:.4}, tile {tile:.4}, row {row:.4}, group {group:.4}");
        assert!(group < 0.95 * row && row < 0.95 * tensor);
        assert!(group < 0.95 * tile && tile < 0.95 * tensor);
    }
}

#[test]
fn pieces_make_no_difference() {
    let _one = common::one_at_a_time();
    let shapes = [(37, 75), (64, 130)];
    let cpu = Cpu::new();
    for (index, _) in common::setups().iter().enumerate().step_by(2) {
        // bindings of 4 KiB: a few rows each
        let options = Options {
            max_binding: Some(4096),
            ..Options::default()
        };
        let gpu = pollster::block_on(Gpu::open(index / 2, options)).unwrap();
        for (out, inputs) in shapes {
            let r = noise(3, out * inputs, 0.05);
            for (method, granularity) in [
                (Method::Phase { stages: 2 }, Granularity::Tensor),
                (Method::Phase { stages: 3 }, Granularity::Row),
                (Method::Phase { stages: 1 }, Granularity::Group(16)),
                (Method::Phase { stages: 2 }, tile(3, 16)),
                // more rows than fit a binding
                (Method::Phase { stages: 2 }, tile(24, 64)),
                (Method::Binary, Granularity::Tensor),
                (Method::Ternary, Granularity::Tensor),
            ] {
                let whole = on(&cpu, &r, (out, inputs), method, granularity).unwrap();
                let cut = on(&gpu, &r, (out, inputs), method, granularity).unwrap();
                assert!(
                    whole == cut,
                    "{out} x {inputs}, {method:?}, {granularity:?}"
                );
                assert_eq!(dense(&cpu, &whole), dense(&gpu, &cut));
            }
        }
    }
}

#[test]
fn what_cannot_be_quantized_is_refused() {
    let cpu = Cpu::new();
    let phase = Method::Phase { stages: 2 };
    let mut r = noise(1, 64, 0.1);
    r[9] = f32::NAN;
    r[20] = f32::INFINITY;
    match on(&cpu, &r, (8, 8), phase, Granularity::Tensor) {
        Err(Error::NonFinite {
            tensor,
            index,
            value,
        }) => {
            assert_eq!((tensor.as_str(), index), ("w", 9));
            assert!(value.is_nan());
        }
        other => panic!("{other:?}"),
    }
    let allowed = quantize(
        &cpu,
        "w",
        &r,
        Form::WidelyLinear,
        8,
        8,
        phase,
        Granularity::Tensor,
        true,
    );
    let allowed = block_on(&cpu, allowed).unwrap();
    (r[9], r[20]) = (0.0, 0.0);
    assert_eq!(
        allowed,
        on(&cpu, &r, (8, 8), phase, Granularity::Tensor).unwrap()
    );

    let usage = |method, granularity, shape| {
        let error = on(&cpu, &r, shape, method, granularity).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
        assert_eq!(error.exit_code(), 2);
    };
    usage(Method::Full, Granularity::Tensor, (8, 8));
    usage(Method::Phase { stages: 0 }, Granularity::Tensor, (8, 8));
    usage(Method::Phase { stages: 5 }, Granularity::Tensor, (8, 8));
    usage(phase, Granularity::Group(0), (8, 8));
    usage(phase, Granularity::Group(24), (8, 8));
    usage(phase, tile(0, 16), (8, 8));
    usage(phase, tile(64, 24), (8, 8));
    usage(Method::Binary, Granularity::Row, (8, 8));
    usage(Method::Ternary, tile(64, 64), (8, 8));
    usage(phase, Granularity::Tensor, (8, 9));
    usage(phase, Granularity::Tensor, (0, 9));
    usage(phase, Granularity::Tensor, (1, 1 << 18));
    r[0] = 2e38;
    let error = on(&cpu, &r, (8, 8), phase, Granularity::Tensor).unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error}");
}

#[test]
fn zeros_and_huge_weights_stay_finite() {
    let cpu = Cpu::new();
    for (value, method) in [
        (0.0, Method::Phase { stages: 2 }),
        (0.0, Method::Binary),
        (0.0, Method::Ternary),
        (1e38, Method::Phase { stages: 4 }),
        (1e38, Method::Binary),
        (1e-40, Method::Phase { stages: 1 }),
    ] {
        let r = vec![value; 6 * 10];
        let packed = on(&cpu, &r, (6, 10), method, Granularity::Tensor).unwrap();
        assert!(packed.scales.iter().all(|s| s.is_finite()));
        assert!(dense(&cpu, &packed).iter().all(|x| x.is_finite()));
        assert_eq!(packed.relative_error.is_some(), value.abs() > 1e-30);
    }
}

/// The linear layers of `novella` by shape, with noise for weights. Seconds per run are printed; the bound is
/// generous, it catches a path that fell back to the reference.
#[test]
fn a_small_model_is_quantized_at_once() {
    let block = [
        (384, 384),
        (128, 384),
        (128, 384),
        (384, 384),
        (1024, 384),
        (1024, 384),
        (384, 1024),
    ];
    let mut weights: Vec<(usize, usize)> = block.repeat(6);
    weights.push((4096, 384));
    let tensors: Vec<Vec<f32>> = weights
        .iter()
        .map(|&(n, m)| noise(1, n * m, 0.05))
        .collect();
    let cpu = Cpu::new();
    for (method, granularity) in [
        (Method::Phase { stages: 2 }, Granularity::Tensor),
        (Method::Phase { stages: 2 }, Granularity::Group(64)),
        (Method::Ternary, Granularity::Tensor),
    ] {
        let start = std::time::Instant::now();
        for (r, &shape) in tensors.iter().zip(&weights) {
            let packed = on(&cpu, r, shape, method, granularity).unwrap();
            assert!(packed.relative_error.unwrap() < 0.7);
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{method:?}, {granularity:?}: {seconds:.3} s");
        assert!(seconds < 10.0);
    }
}

/// LLaMA-2-7B at two bits, head included, with its f16 embedding: at most 1.95 GB.
#[test]
fn seven_billion_weights_fit_in_two_gigabytes() {
    let config = fairy2i_gpu::model::Config {
        architecture: "LlamaForCausalLM".into(),
        vocab: 32000,
        hidden: 4096,
        intermediate: 11008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        context: 4096,
        rope: fairy2i_gpu::model::Rope {
            theta: 10000.0,
            scaling: fairy2i_gpu::model::RopeScaling::None,
        },
        norm_eps: 1e-5,
        tied: false,
        bos: Some(1),
        eos: vec![2],
        variant: Default::default(),
    };
    let product = |shape: &[usize]| shape.iter().product::<usize>();
    let linears = config.linears().into_iter().map(|l| {
        let method = Method::Phase { stages: 2 };
        let (codes, scales) = Packed::shapes(
            method,
            l.form,
            Granularity::Tensor,
            l.out_features,
            l.in_features,
        );
        4 * (product(&codes) + product(&scales))
    });
    let norms = 4 * config.hidden * config.norms().len();
    let bytes = linears.sum::<usize>() + 2 * config.vocab * config.hidden + norms;
    assert!((1_900_000_000..=1_950_000_000).contains(&bytes), "{bytes}");
}
