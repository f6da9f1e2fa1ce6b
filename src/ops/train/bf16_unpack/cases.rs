//! Values that bf16 unpacking is checked and timed on.

use super::Bf16Unpack;
use super::bf16;
use crate::ops::*;

fn case(n: usize, offset: usize) -> Case<Bf16Unpack> {
    // without exponents of NaN, whose bits a device may change when it moves them
    let x: Vec<u32> = noise_u32(133, bf16::words(offset + n))
        .into_iter()
        .map(|w| w & 0xbfff_bfff)
        .collect();
    let op = Bf16Unpack { n, offset };
    Case::new("", op, vec![Data::u32(&x), Data::Out(n)])
}

/// Several workgroups, and an odd number of values behind others.
pub(super) fn cases() -> Vec<Case<Bf16Unpack>> {
    vec![case(3000, 0), case(301, 512)]
}

/// The largest weight of a block.
pub(super) fn bench_cases() -> Vec<BenchCase<Bf16Unpack>> {
    let op = Bf16Unpack {
        n: bench::LARGEST_WEIGHT,
        offset: 0,
    };
    vec![bench::case("", op, &[Made::Halves, Made::Zeros])]
}
