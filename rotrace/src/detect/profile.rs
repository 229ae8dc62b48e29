//! Given: sizes or times of the calls of one endpoint. Gives: where most of them lie. Refuses to know: which endpoint.

/// Buckets: four to a doubling, over twenty doublings.
const BUCKETS: usize = 80;

/// Counts at which all are halved, so that what was long ago fades.
const FADE_AT: u32 = 8192;

/// Counts of values in logarithmic buckets from `2^FIRST` on; a quantile is within 13 % of the value.
#[derive(Clone, Debug)]
pub struct Quantiles<const FIRST: u32> {
    buckets: [u16; BUCKETS],
    count: u32,
}

/// Times from 65 µs to 69 s.
pub type Times = Quantiles<16>;

/// Sizes from 64 bytes to 64 MiB.
pub type Sizes = Quantiles<6>;

impl<const FIRST: u32> Default for Quantiles<FIRST> {
    fn default() -> Self {
        Quantiles { buckets: [0; BUCKETS], count: 0 }
    }
}

impl<const FIRST: u32> Quantiles<FIRST> {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        let value = value.max(1 << FIRST);
        let exponent = value.ilog2();
        let step = (value >> (exponent - 2)) & 3;
        let bucket = (exponent - FIRST) as usize * 4 + step as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
        if self.count >= FADE_AT {
            self.buckets.iter_mut().for_each(|count| *count /= 2);
            self.count = self.buckets.iter().map(|&count| u32::from(count)).sum();
        }
    }

    /// Values that it remembers.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The value below which a share `q` of them lies; 0 when there are none.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = (q * f64::from(self.count)).ceil().max(1.0) as u32;
        let mut below = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            below += u32::from(count);
            if below >= rank && count > 0 {
                let (exponent, step) = (FIRST as usize + bucket / 4, (bucket % 4) as u64);
                // The middle of the bucket.
                return ((2 * (4 + step) + 1) << exponent) >> 3;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_near_the_values(values in prop::collection::vec(70_000..60_000_000_000u64, 1..200), q in 0.0..1.0f64) {
            let mut times = Times::default();
            values.iter().for_each(|&value| times.record(value));
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = ((q * sorted.len() as f64).ceil() as usize).max(1) - 1;
            let (seen, truth) = (times.quantile(q) as f64, sorted[rank] as f64);
            prop_assert!((seen / truth - 1.0).abs() <= 0.13, "{seen} for {truth}");
        }
    }

    #[test]
    fn the_past_fades() {
        let mut sizes = Sizes::default();
        (0..8000).for_each(|_| sizes.record(1000));
        (0..80_000).for_each(|_| sizes.record(1_000_000));
        assert!(sizes.quantile(0.02) > 800_000);
        assert!(sizes.count() < FADE_AT);
        assert_eq!(Sizes::default().quantile(0.5), 0);
    }
}
