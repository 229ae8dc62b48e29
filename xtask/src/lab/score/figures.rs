//! Given: numbers of several worlds. Gives: shares, medians and how sure they are. Refuses to know: what was counted.

use crate::lab::random::Random;

/// Worlds are drawn anew so often.
const RESAMPLES: usize = 1000;

/// The value below which a share of them lies, between the two next to it; `None` of no values.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

/// A part and the whole, of each world.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Share {
    worlds: Vec<(f64, f64)>,
}

impl Share {
    /// Counts for a world; worlds are numbered from 0.
    pub(super) fn add(&mut self, world: usize, part: f64, whole: f64) {
        if self.worlds.len() <= world {
            self.worlds.resize(world + 1, (0.0, 0.0));
        }
        if let Some(own) = self.worlds.get_mut(world) {
            *own = (own.0 + part, own.1 + whole);
        }
    }

    pub(super) fn part(&self) -> f64 {
        self.worlds.iter().map(|world| world.0).sum()
    }

    pub(super) fn whole(&self) -> f64 {
        self.worlds.iter().map(|world| world.1).sum()
    }

    /// `None` of nothing.
    pub(super) fn value(&self) -> Option<f64> {
        (self.whole() > 0.0).then(|| self.part() / self.whole())
    }

    /// Where the value lies in 95 of 100 draws of as many worlds, with replacement (Efron's percentile bootstrap).
    pub(super) fn interval(&self) -> Option<(f64, f64)> {
        self.value()?;
        let mut random = Random::of(95, &[self.worlds.len() as u64]);
        let draw = |random: &mut Random| {
            let worlds = (0..self.worlds.len())
                .filter_map(|_| self.worlds.get(random.below(0..self.worlds.len() as u64) as usize));
            let (part, whole) = worlds.fold((0.0, 0.0), |sum, world| (sum.0 + world.0, sum.1 + world.1));
            (whole > 0.0).then(|| part / whole)
        };
        let values: Vec<f64> = (0..RESAMPLES).filter_map(|_| draw(&mut random)).collect();
        Some((quantile(&values, 0.025)?, quantile(&values, 0.975)?))
    }
}

/// Claims and truths, each of one game.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Errors {
    pairs: Vec<(f64, f64)>,
}

impl Errors {
    pub(super) fn add(&mut self, claimed: f64, truth: f64) {
        if claimed > 0.0 || truth > 0.0 {
            self.pairs.push((claimed, truth));
        }
    }

    /// A quantile of the relative error without its sign, where something was wasted.
    pub(super) fn relative(&self, share: f64) -> Option<f64> {
        let wasted = self.pairs.iter().filter(|(_, truth)| *truth > 0.0);
        let errors: Vec<f64> = wasted.map(|(claimed, truth)| ((claimed - truth) / truth).abs()).collect();
        quantile(&errors, share)
    }

    /// All that is claimed over all that is wasted.
    pub(super) fn bias(&self) -> Option<f64> {
        let (claimed, truth) =
            self.pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        (truth > 0.0).then(|| claimed / truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0, 1.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[5.0, 1.0, 2.0], 1.0), Some(5.0));
    }

    #[test]
    fn a_share_that_is_the_same_everywhere_is_sure() {
        let mut share = Share::default();
        assert_eq!(share.value(), None);
        for world in 0..5 {
            share.add(world, 1.0, 2.0);
        }
        assert_eq!((share.value(), share.interval()), (Some(0.5), Some((0.5, 0.5))));
        share.add(5, 2.0, 2.0);
        let (low, high) = share.interval().expect("an interval");
        assert!(low >= 0.5 && high > 0.5 && high < 1.0, "{low} {high}");
    }

    #[test]
    fn errors_are_relative_to_the_truth() {
        let mut errors = Errors::default();
        errors.add(0.0, 0.0);
        errors.add(90.0, 100.0);
        errors.add(60.0, 50.0);
        // Claimed where nothing is wasted: no relative error, but a bias.
        errors.add(15.0, 0.0);
        assert!((errors.relative(0.5).expect("errors") - 0.15).abs() < 1e-9);
        assert_eq!(errors.bias(), Some(1.1));
    }
}
