//! Codes that unpacking from 8 bits is checked and timed on.

use super::super::block8::{BLOCK, CODE_WORDS, Range, words};
use super::Block8Unpack;
use crate::ops::*;

fn case(positive: bool, n: usize, [offset, total]: [usize; 2]) -> Case<Block8Unpack> {
    let range = Range {
        n,
        offset,
        total,
        positive,
    };
    let mut x = noise_u32(145, words(total));
    let codes = total.div_ceil(BLOCK) * CODE_WORDS;
    // exponents from far below the least of f32 to far above 1
    for (i, exponent) in x[codes..].iter_mut().enumerate() {
        *exponent = [3, 0, 120, 127, 31, 200][i % 6];
    }
    let op = Block8Unpack { range };
    Case::new("", op, vec![Data::u32(&x), Data::Out(n)])
}

/// Several workgroups, some blocks of many, and the last ones of a tensor.
pub(super) fn cases() -> Vec<Case<Block8Unpack>> {
    vec![
        case(false, 1500, [0, 1500]),
        case(false, 512, [256, 1000]),
        case(true, 1500, [0, 1500]),
        case(true, 77, [768, 845]),
    ]
}

/// First and second moments of the largest weight of a block.
pub(super) fn bench_cases() -> Vec<BenchCase<Block8Unpack>> {
    let each = [false, true].map(|positive| {
        let range = Range::whole(bench::LARGEST_WEIGHT, positive);
        bench::case("", Block8Unpack { range }, &[Made::Zeros, Made::Zeros])
    });
    each.into()
}
