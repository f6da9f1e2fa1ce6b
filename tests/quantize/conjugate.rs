//! Layers of the conjugate form against a quantizer in f64 that is written from the paper's definition.

use super::common;
use fairy2i_gpu::Error;
use fairy2i_gpu::backend::{Backend, Cpu, Gpu, Options, block_on};
use fairy2i_gpu::model::quantize::{dequantize, quantize};
use fairy2i_gpu::model::{Form, Granularity, Method, Packed};
use fairy2i_gpu::ops::{hash32, noise};

fn on<B: Backend>(
    backend: &B,
    r: &[f32],
    [out, inputs]: [usize; 2],
    method: Method,
    granularity: Granularity,
) -> fairy2i_gpu::Result<Packed> {
    let form = Form::Conjugate;
    let packed = quantize(
        backend,
        "w",
        r,
        form,
        out,
        inputs,
        method,
        granularity,
        false,
    );
    block_on(backend, packed)
}

/// The code of a complex number: i^k is the nearest by angle, with the ties of the papers' code.
fn code([re, im]: [f64; 2]) -> usize {
    if -re <= im && im <= re {
        0
    } else if -im < re && re < im {
        1
    } else if re < im && im <= -re {
        2
    } else {
        3
    }
}

/// Replaces complex weights that share scales by their sum of `stages`, and returns the scales.
fn plain(weights: &mut [[f64; 2]], stages: usize) -> Vec<[f64; 2]> {
    let mut rest = weights.to_vec();
    let mut scales = Vec::new();
    for _ in 0..stages {
        let codes: Vec<usize> = rest.iter().map(|&z| code(z)).collect();
        let mean = |axis: usize| {
            let of_axis = rest.iter().zip(&codes).filter(|(_, k)| *k % 2 == axis);
            let sizes: Vec<f64> = of_axis.map(|(z, _)| z[axis].abs()).collect();
            let mean = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
            f64::from(mean.max(1e-5) as f32)
        };
        let s = [mean(0), mean(1)];
        for (z, k) in rest.iter_mut().zip(codes) {
            z[k % 2] -= if k < 2 { s[k % 2] } else { -s[k % 2] };
        }
        scales.push(s);
    }
    for (w, rest) in weights.iter_mut().zip(rest) {
        *w = [w[0] - rest[0], w[1] - rest[1]];
    }
    scales
}

/// A weight [2 n, m] through [`plain`]: scales by scale block, group and stage, and the weight they give.
fn plain_layer(
    r: &[f32],
    [n, m]: [usize; 2],
    stages: usize,
    granularity: Granularity,
) -> (Vec<f64>, Vec<f64>) {
    let (rows, columns) = match granularity {
        Granularity::Tensor => (n, m),
        Granularity::Row => (1, m),
        Granularity::Group(g) => (1, g),
        Granularity::Tile { rows, columns } => (rows, columns),
    };
    let (mut scales, mut dense) = (Vec::new(), vec![0.0; r.len()]);
    for top in (0..n).step_by(rows) {
        for left in (0..m).step_by(columns) {
            let places: Vec<usize> = (top..n.min(top + rows))
                .flat_map(|row| (left..m.min(left + columns)).map(move |c| row * m + c))
                .collect();
            let complex = |&i: &usize| [f64::from(r[i]), f64::from(r[n * m + i])];
            let mut weights: Vec<_> = places.iter().map(complex).collect();
            scales.extend(plain(&mut weights, stages).concat());
            for (&i, w) in places.iter().zip(weights) {
                (dense[i], dense[n * m + i]) = (w[0], w[1]);
            }
        }
    }
    (scales, dense)
}

/// Noise whose rows have very different magnitudes, the last of them far below the least scale.
fn weight(seed: u32, [n, m]: [usize; 2]) -> Vec<f32> {
    let mut r = noise(seed, 2 * n * m, 0.1);
    for (i, x) in r.iter_mut().enumerate() {
        let row = i / m % n;
        *x *= 0.5f32.powi((hash32(row as u32, 5) % 5) as i32);
        if n > 2 && row == n - 1 {
            *x *= 1e-7;
        }
    }
    r
}

#[test]
fn codes_and_scales_are_the_papers() {
    let granularities = [
        Granularity::Tensor,
        Granularity::Row,
        Granularity::Group(16),
        Granularity::Group(48),
        super::tile(3, 16),
        super::tile(64, 64),
    ];
    let cpu = Cpu::new();
    for [n, m] in [[1, 1], [7, 39], [16, 64], [5, 130]] {
        for stages in 1..=4 {
            for granularity in granularities {
                let id = format!("{n} x {m}, T = {stages}, {granularity:?}");
                let (r, method) = (weight(3, [n, m]), Method::Phase { stages });
                let packed = on(&cpu, &r, [2 * n, 2 * m], method, granularity).unwrap();
                let shapes = Packed::shapes(method, packed.form, granularity, 2 * n, 2 * m);
                assert_eq!(shapes.0[1], 1, "{id}: one matrix");
                assert_eq!(packed.codes.len(), shapes.0.iter().product::<usize>());
                let (scales, want) = plain_layer(&r, [n, m], stages, granularity);
                assert_eq!(packed.scales.len(), scales.len(), "{id}");
                for (got, want) in packed.scales.iter().zip(scales) {
                    let off = (f64::from(*got) / want - 1.0).abs();
                    assert!(off < 1e-5, "{id}: scale {got}, not {want}");
                }
                let got = block_on(&cpu, dequantize(&cpu, &packed)).unwrap();
                assert_eq!(got.len(), 2 * n * m);
                let (mut error, mut power) = (0.0, 0.0);
                for (i, (&got, want)) in got.iter().zip(want).enumerate() {
                    let off = (f64::from(got) - want).abs();
                    assert!(off < 1e-6, "{id}: weight {i} is {got}, not {want}");
                    error += (want - f64::from(r[i])).powi(2);
                    power += f64::from(r[i]).powi(2);
                }
                let (said, is) = (packed.relative_error.unwrap(), (error / power).sqrt());
                assert!((said - is).abs() < 1e-5, "{id}: {said} said, {is} is");
            }
        }
    }
}

#[test]
fn pieces_of_stored_weights_make_no_difference() {
    let _one = common::one_at_a_time();
    let cpu = Cpu::new();
    for (index, _) in common::setups().iter().enumerate().step_by(2) {
        // bindings of 4 KiB: a few rows each
        let options = Options {
            max_binding: Some(4096),
            ..Options::default()
        };
        let gpu = pollster::block_on(Gpu::open(index / 2, options)).unwrap();
        for [n, m] in [[19, 75], [32, 64]] {
            let r = weight(4, [n, m]);
            for (stages, granularity) in [
                (1, Granularity::Tensor),
                (3, Granularity::Row),
                (2, Granularity::Group(16)),
                (2, super::tile(4, 16)),
                (1, super::tile(20, 32)),
            ] {
                let method = Method::Phase { stages };
                let of = [2 * n, 2 * m];
                let whole = on(&cpu, &r, of, method, granularity).unwrap();
                let cut = on(&gpu, &r, of, method, granularity).unwrap();
                assert!(whole == cut, "{n} x {m}, T = {stages}, {granularity:?}");
                let back = block_on(&gpu, dequantize(&gpu, &cut)).unwrap();
                assert_eq!(block_on(&cpu, dequantize(&cpu, &whole)).unwrap(), back);
            }
        }
    }
}

#[test]
fn what_is_no_complex_layer_is_refused() {
    let (cpu, phase) = (Cpu::new(), Method::Phase { stages: 1 });
    let r = noise(1, 48, 0.1);
    let fits = |shape, method| on(&cpu, &r, shape, method, Granularity::Tensor);
    assert!(fits([8, 12], phase).is_ok());
    for (shape, method) in [
        ([16, 7], phase),
        ([7, 14], phase),
        ([8, 6], phase),
        ([8, 12], Method::Binary),
        ([8, 12], Method::Ternary),
    ] {
        let error = fits(shape, method).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
    }
}
