//! Given: a seed and names. Gives: streams of numbers, one for each name, that have nothing to do with each other; the same
//! seed always gives the same. Refuses to know: what is drawn.

use std::ops::Range;

use rotrace::keyed::combine;

/// xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), seeded by SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of some names under a seed. Another name gives another stream and changes none.
    pub(crate) fn of(seed: u64, names: &[u64]) -> Self {
        let mut root = names.iter().fold(split_mix(&mut seed.clone()), |state, &name| {
            split_mix(&mut (state ^ split_mix(&mut name.wrapping_add(1))))
        });
        Random { state: std::array::from_fn(|_| split_mix(&mut root)) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number of a range; its start when the range is empty.
    pub(crate) fn below(&mut self, range: Range<u64>) -> u64 {
        let Range { start, end } = range;
        let width = end.saturating_sub(start);
        start + ((u128::from(self.next()) * u128::from(width)) >> 64) as u64
    }

    /// Between two numbers.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True so often.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A waiting time of a Poisson process.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal around a median (Box and Muller, 1958).
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        median * (sigma * radius * (std::f64::consts::TAU * self.unit()).cos()).exp()
    }
}

/// A number of a text, the same for the same. The product's own are no good for this: worlds must not change with them.
pub(crate) fn number_of(text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let number = words.iter().fold(combine(0, text.len() as u64), |number, &word| {
        let word = (number ^ u64::from_le_bytes(word)) ^ 0x2d35_8dcc_aa6c_78a5;
        let product = u128::from(word) * 0x8bb8_4b93_962e_acc9;
        product as u64 ^ (product >> 64) as u64
    });
    combine(number, rest.iter().fold(0, |rest, &byte| rest << 8 | u64::from(byte)))
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_streams_of_their_own() {
        let first = |seed, names: &[u64]| Random::of(seed, names).next();
        assert_eq!(first(1, &[2, 3]), first(1, &[2, 3]));
        let others = [first(1, &[3, 2]), first(1, &[2]), first(2, &[2, 3]), first(1, &[2, 4])];
        assert!(others.iter().all(|&other| other != first(1, &[2, 3])), "{others:?}");
    }

    #[test]
    fn numbers_are_spread_as_they_should_be() {
        let mut random = Random::of(7, &[]);
        let mean = |draw: &mut dyn FnMut() -> f64| (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0;
        assert!((mean(&mut || random.unit()) - 0.5).abs() < 0.01);
        assert!((mean(&mut || random.below(10..20) as f64) - 14.5).abs() < 0.1);
        assert!((mean(&mut || random.exponential(3.0)) - 3.0).abs() < 0.1);
        let below_median = mean(&mut || f64::from(u8::from(random.log_normal(40.0, 0.5) < 40.0)));
        assert!((below_median - 0.5).abs() < 0.02);
    }
}
