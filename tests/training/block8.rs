//! What eight bits make of numbers: near, and right on the mean.

use fairy2i_gpu::backend::{Backend, Cpu, block_on, upload_new};
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::ops::train::{Block8Pack, Block8Unpack, block8, block8::Range};

/// Values of many orders of magnitude.
fn uneven(seed: u32, n: usize) -> Vec<f32> {
    let sizes = noise(seed + 50, n, 20.0);
    let values = noise(seed, n, 1.0).into_iter().zip(sizes);
    values.map(|(v, size)| v * size.exp2()).collect()
}

/// Packed with `seed`, and unpacked again.
fn there_and_back(x: &[f32], positive: bool, seed: u32) -> Vec<f32> {
    let (cpu, n) = (Cpu::new(), x.len());
    let range = Range::whole(n, positive);
    let upload = |words: &[u32]| upload_new(&cpu, "x", words).expect("memory");
    let (x, y) = (
        upload(bytemuck::cast_slice(x)),
        upload(&vec![0; block8::words(n)]),
    );
    block_on(&cpu, cpu.run(&Block8Pack { range, seed }, &[&x, &y])).expect("packed");
    block_on(&cpu, cpu.run(&Block8Unpack { range }, &[&y, &x])).expect("unpacked");
    bytemuck::cast_vec(block_on(&cpu, cpu.download(&x, 0, n)).expect("values"))
}

#[test]
fn values_stay_within_an_eighth_and_right_on_the_mean() {
    const TIMES: u32 = 2000;
    let x: Vec<f32> = uneven(7, 512).iter().map(|v| v * v).collect();
    let largest = |block: &[f32]| block.iter().fold(0f32, |a, &v| a.max(v));
    let largest: Vec<f32> = x.chunks(block8::BLOCK).map(largest).collect();
    // those that have three bits of the significand
    let normal = |i: usize| x[i] > 2f32.powi(-29) * largest[i / block8::BLOCK];
    let mut sums = vec![0.0; x.len()];
    for seed in 0..TIMES {
        let back = there_and_back(&x, true, seed);
        for (i, (&y, &x)) in back.iter().zip(&x).enumerate() {
            let near = (y - x).abs() <= x / 8.0;
            assert!(near || !normal(i), "{x} became {y}");
            assert!(y > 0.0, "{x} became 0");
            sums[i] += f64::from(y) / f64::from(TIMES);
        }
    }
    let counted = (0..x.len()).filter(|&i| normal(i));
    for i in counted.clone() {
        let off = (sums[i] / f64::from(x[i]) - 1.0).abs();
        assert!(off < 0.01, "value {i}: {} instead of {}", sums[i], x[i]);
    }
    let counted = counted.count();
    assert!(
        (100..400).contains(&counted),
        "both kinds are there: {counted}"
    );
}

#[test]
fn codes_are_their_own_rounding() {
    let once = there_and_back(&uneven(9, 700), false, 1);
    assert_eq!(there_and_back(&once, false, 2), once);
    assert_eq!(there_and_back(&[0.0; 3], true, 3), [0.0; 3]);
}
