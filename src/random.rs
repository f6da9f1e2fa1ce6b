//! The one generator of random numbers: wherever this crate promises equal results for equal seeds, they come from here.
//!
//! It is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), as in Java and
//! in the reference code of Sebastiano Vigna: a state of 64 bits to which [`GAMMA`] is added for each number, and
//! [`mix`] of which is the number. All of it is integer arithmetic modulo 2^64, and the floats below are made from it
//! by exact operations, so that a seed gives the same bits on every platform and in every version of this crate.
//!
//! It is fast and passes the usual statistical tests; it is no source of secrets.
//!
//! # Test vectors
//! The first numbers of [`SplitMix64::next_u64`]:
//!
//! | seed | numbers |
//! |---|---|
//! | 0 | `e220a8397b1dcdaf`, `6e789e6aa1b965f4`, `06c45d188009454f`, `f88bb8a8724c81ec`, `1b39896a51a8749b` |
//! | 1234567 | `599ed017fb08fc85`, `2c73f08458540fa5`, `883ebce5a3f27c77`, `3fbef740e9177b3f`, `e3b8346708cb5ecd` |

/// What the state grows by: 2^64 divided by the golden ratio, made odd.
pub const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that follows the state `x`: one step of the state, then two multiplications with shifts between them, so
/// that every bit of the result depends on every bit of `x`.
pub const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(GAMMA);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Number `index` of the table that `seed` names: `mix(mix(seed) ^ index)`, without the numbers before it.
pub const fn at(seed: u64, index: u64) -> u64 {
    mix(mix(seed) ^ index)
}

/// The upper 53 bits of `bits` as a number in [0, 1).
pub const fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A sequence of random numbers: see the module's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The sequence of `seed`. Seeds that differ by a little give sequences that have nothing to do with each other.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 uniform bits.
    pub const fn next_u64(&mut self) -> u64 {
        let number = mix(self.state);
        self.state = self.state.wrapping_add(GAMMA);
        number
    }

    /// 32 uniform bits: the upper ones of [`SplitMix64::next_u64`].
    pub const fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A multiple of 2^-53 in [0, 1), from the upper 53 bits of [`SplitMix64::next_u64`].
    pub const fn next_f64(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// An integer in `0..end` without bias; 0 where `end` is 0. It is the upper half of the product of `end` and 64
    /// bits, which are drawn again while the lower half lies below `2^64 mod end` (Lemire, arXiv 1805.10941).
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            return 0;
        }
        let uneven = end.wrapping_neg() % end;
        loop {
            let product = self.next_u64() as u128 * end as u128;
            if product as u64 >= uneven {
                return (product >> 64) as u64;
            }
        }
    }

    /// Two independent normal numbers of deviation 1 from two uniform ones u and v (Box-Muller): `sqrt(-2 ln(1 - u))`
    /// times cosine and sine of `2 pi v`. The functions are `libm`'s, since those of systems differ in the last place.
    pub fn normal_pair(&mut self) -> [f64; 2] {
        let radius = (-2.0 * libm::log(1.0 - self.next_f64())).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.next_f64());
        [radius * cos, radius * sin]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_the_reference_codes() {
        let first = |seed| {
            let mut random = SplitMix64::new(seed);
            [0; 5].map(|_| random.next_u64())
        };
        assert_eq!(
            first(0),
            [
                0xe220_a839_7b1d_cdaf,
                0x6e78_9e6a_a1b9_65f4,
                0x06c4_5d18_8009_454f,
                0xf88b_b8a8_724c_81ec,
                0x1b39_896a_51a8_749b,
            ]
        );
        assert_eq!(
            first(1_234_567),
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn all_draws_come_from_the_same_bits() {
        let random = SplitMix64::new(0);
        assert_eq!(random.clone().next_u32(), 0xe220_a839);
        let unit = (0xe220_a839_7b1d_cdaf_u64 >> 11) as f64 / 2f64.powi(53);
        assert_eq!(random.clone().next_f64(), unit);
        assert_eq!(random.clone().below(1 << 32), 0xe220_a839);
        assert_eq!(at(0, 0), mix(0xe220_a839_7b1d_cdaf));
        assert_eq!(SplitMix64::new(u64::MAX).below(0), 0);
    }

    /// These bits must never change: models made from scratch follow from them.
    #[test]
    fn normal_numbers_have_these_bits() {
        let pair = SplitMix64::new(42).normal_pair();
        assert_eq!(
            pair.map(f64::to_bits),
            [0x3fec_3b62_0ee5_015b, 0x3ff6_372f_c37a_e2d6]
        );
    }

    #[test]
    fn ranges_have_no_bias() {
        // two thirds of 2^64: without drawing again, even numbers would come up twice as often as odd ones
        let end = (1u64 << 63) / 3 * 4;
        let mut random = SplitMix64::new(9);
        let even = (0..30_000)
            .filter(|_| random.below(end).is_multiple_of(2))
            .count();
        assert!((14_500..15_500).contains(&even), "{even}");
        let mut counts = [0; 6];
        (0..60_000).for_each(|_| counts[random.below(6) as usize] += 1);
        assert!(
            counts.iter().all(|c| (9_600..10_400).contains(c)),
            "{counts:?}"
        );
    }
}
