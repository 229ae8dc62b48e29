//! Given: durations in nanoseconds, one at a time. Gives: their quantiles to within a few per cent, from a fixed number
//! of counters. Refuses to know: what lasted so long.

/// Buckets per doubling. The factor between bounds is 2^(1/8) ≈ 1.09, so the geometric middle of a bucket is at most
/// 4.5 % from any value in it.
const PER_OCTAVE: usize = 8;

/// The first bucket begins at 2^10 ns ≈ 1 µs: no HTTP call is faster than that.
const FIRST_EXPONENT: u32 = 10;

/// The last bucket ends at 2^40 ns ≈ 18 minutes: longer than any poll that servers or proxies leave open.
const LAST_EXPONENT: u32 = 40;

const BUCKETS: usize = (LAST_EXPONENT - FIRST_EXPONENT) as usize * PER_OCTAVE;

/// 2^(k/8) · 2^15, rounded: where the buckets of one octave begin, for a value shifted so that its top bit is bit 15.
const STEPS: [u64; PER_OCTAVE] = [32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097];

/// Counts of durations in logarithmic buckets, with their exact count, sum, least and greatest.
///
/// Values outside of 1 µs … 18 min are counted in the first or last bucket; the exact bounds keep them honest where
/// they are the least or the greatest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; BUCKETS], count: 0, sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, value_ns: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(value_ns)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_ns += u128::from(value_ns);
        self.min_ns = self.min_ns.min(value_ns);
        self.max_ns = self.max_ns.max(value_ns);
    }

    /// Adds what another has counted: the same as if all of its durations had been recorded here.
    pub fn merge(&mut self, other: &Histogram) {
        let Histogram { buckets, count, sum_ns, min_ns, max_ns } = other;
        for (own, more) in self.buckets.iter_mut().zip(buckets) {
            *own += more;
        }
        self.count += count;
        self.sum_ns += sum_ns;
        self.min_ns = self.min_ns.min(*min_ns);
        self.max_ns = self.max_ns.max(*max_ns);
    }

    /// The value below or at which a share `q` (0 to 1) of the durations lies; `None` when there are none.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        let middle = (lower_bound(bucket) as f64 * lower_bound(bucket + 1) as f64).sqrt();
        // Outside of its range the ends of the histogram are the only thing that is known of a bucket.
        let estimate = match bucket {
            0 if self.min_ns < lower_bound(0) => self.min_ns,
            _ if bucket == BUCKETS - 1 && self.max_ns >= lower_bound(BUCKETS) => self.max_ns,
            _ => middle as u64,
        };
        Some(estimate.clamp(self.min_ns, self.max_ns))
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their exact sum.
    pub fn sum_ns(&self) -> u128 {
        self.sum_ns
    }
}

fn bucket_of(value_ns: u64) -> usize {
    let exponent = value_ns.checked_ilog2().unwrap_or(0);
    if exponent < FIRST_EXPONENT {
        return 0;
    }
    if exponent >= LAST_EXPONENT {
        return BUCKETS - 1;
    }
    let mantissa = (value_ns << value_ns.leading_zeros()) >> 48;
    let step = STEPS.iter().filter(|&&begin| begin <= mantissa).count() - 1;
    (exponent - FIRST_EXPONENT) as usize * PER_OCTAVE + step
}

/// The least value of a bucket; one past the last bucket it is the end of the range.
fn lower_bound(bucket: usize) -> u64 {
    let exponent = FIRST_EXPONENT as usize + bucket / PER_OCTAVE;
    (STEPS[bucket % PER_OCTAVE] << exponent).div_ceil(1 << 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_bounds_grow_by_less_than_a_tenth() {
        for bucket in 0..BUCKETS {
            let (begin, end) = (lower_bound(bucket), lower_bound(bucket + 1));
            assert_eq!((bucket_of(begin), bucket_of(end - 1)), (bucket, bucket));
            assert!(end as f64 / begin as f64 <= 1.1, "{begin} {end}");
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn nothing_has_no_quantile_and_one_value_is_exact() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ns(0.5), None);
        histogram.record(123_456);
        assert_eq!(histogram.quantile_ns(0.5), Some(123_456));
        assert_eq!(histogram.quantile_ns(0.99), Some(123_456));
    }

    #[test]
    fn values_outside_of_the_range_stay_between_least_and_greatest() {
        let mut histogram = Histogram::default();
        histogram.record(5);
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile_ns(0.5), Some(5));
        assert_eq!(histogram.quantile_ns(1.0), Some(u64::MAX));
        assert_eq!(histogram.sum_ns(), u128::from(u64::MAX) + 5);
    }

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    proptest! {
        #[test]
        fn quantiles_are_near(
            mut values in proptest::collection::vec((10u32..40, any::<u64>()), 1..300),
            q in 0.0f64..=1.0,
        ) {
            let mut values: Vec<u64> = values
                .drain(..)
                .map(|(exponent, low)| (1 << exponent) | (low & ((1 << exponent) - 1)))
                .collect();
            let estimate = of(&values).quantile_ns(q).expect("there are values") as f64;
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1] as f64;
            prop_assert!((estimate - exact).abs() / exact <= 0.05, "{estimate} {exact}");
        }

        #[test]
        fn a_merge_is_as_if_all_were_recorded(
            left in proptest::collection::vec(any::<u64>(), 0..50),
            right in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }
}
