//! Given: measurements. Gives: their median, quartiles and percentiles. Refuses to know: what was measured.

use std::fmt;

/// Where the middle half of the measurements lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quartiles {
    pub(super) lower: f64,
    pub(super) median: f64,
    pub(super) upper: f64,
}

impl Quartiles {
    /// `None` of no measurements.
    pub(super) fn of(measurements: impl IntoIterator<Item = f64>) -> Option<Quartiles> {
        let mut sorted: Vec<f64> = measurements.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // Between the two that lie next to it.
            let place = share * sorted.len().checked_sub(1)? as f64;
            let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
            Some(below + (above - below) * place.fract())
        };
        Some(Quartiles { lower: at(0.25)?, median: at(0.5)?, upper: at(0.75)? })
    }
}

/// The least of the sorted measurements that so large a share of them does not exceed (nearest rank); `None` of no
/// measurements.
pub(super) fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

impl fmt::Display for Quartiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = out.precision().unwrap_or(3);
        let Quartiles { lower, median, upper } = self;
        write!(out, "{median:.digits$} ({lower:.digits$} to {upper:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(measurements: &[f64], expect: Option<[f64; 3]>) {
        let got = Quartiles::of(measurements.iter().copied());
        assert_eq!(got.map(|Quartiles { lower, median, upper }| [lower, median, upper]), expect);
    }

    #[test]
    fn quartiles_of_few_and_of_none() {
        check(&[], None);
        check(&[7.0], Some([7.0; 3]));
        check(&[2.0, 1.0], Some([1.25, 1.5, 1.75]));
        check(&[5.0, 1.0, 4.0, 2.0, 3.0], Some([2.0, 3.0, 4.0]));
    }

    #[test]
    fn percentiles_are_measurements() {
        let sorted: Vec<u32> = (1..=200).collect();
        let shares = [0.0, 0.5, 0.99, 0.999, 1.0].map(|share| percentile(&sorted, share));
        assert_eq!(shares, [1, 100, 198, 200, 200].map(Some));
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile::<u32>(&[], 0.99), None);
    }

    #[test]
    fn they_are_shown_with_as_many_digits_as_asked() {
        let quartiles = Quartiles::of([1.0, 2.0]).expect("two");
        assert_eq!(format!("{quartiles:.2}"), "1.50 (1.25 to 1.75)");
    }
}
