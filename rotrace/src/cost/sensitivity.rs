//! Given: what games cost by class, in `list`. Gives: how much the ranking of games hangs on weights that are assumed.
//! Refuses to know: calls, and how a report shows it.
//!
//! A cost is a sum over classes, so a weight of twice the size doubles what its class contributes, and the ranking can be
//! computed again without the calls.

use std::collections::BTreeMap;

use super::{Basis, MicroCu, Weights};

/// Games whose ranking is compared: what stands at the top is what people act on.
pub const GAMES_RANKED: usize = 20;

/// A ranking that agrees less than this with itself under another weight is one of the model, not of the games.
pub const MODEL_DRIVEN_BELOW: f64 = 0.9;

/// What each game cost, by class.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    games: BTreeMap<Box<str>, BTreeMap<Box<str>, MicroCu>>,
}

/// What is done to a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Half of it.
    Halved,
    /// Twice of it.
    Doubled,
}

/// How a ranking agrees with itself when one weight is another.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// The class whose weight it is.
    pub class: Box<str>,
    /// What is done to it.
    pub change: Change,
    /// Kendall's τ-b: 1 for the same order, -1 for the opposite.
    pub tau: f64,
}

impl Usage {
    /// Adds to what a game cost in a class.
    pub fn add(&mut self, game: &str, class: &str, cost: MicroCu) {
        let classes = self.games.entry(game.into()).or_default();
        *classes.entry(class.into()).or_default() += cost;
    }

    /// What a game cost in each class, in the order of their names.
    pub fn classes(&self, game: &str) -> impl Iterator<Item = (&str, MicroCu)> {
        self.games.get(game).into_iter().flatten().map(|(class, &cost)| (&**class, cost))
    }

    /// Each assumed weight that anything was priced with, halved and doubled; the least agreement first. Empty when there
    /// are no two games that can be ranked.
    pub fn sensitivity(&self, weights: &Weights) -> Vec<Shift> {
        let mut ranked: Vec<&BTreeMap<Box<str>, MicroCu>> = self.games.values().collect();
        // A stable sort, so that equal games stand in the order of their names.
        ranked.sort_by_key(|classes| std::cmp::Reverse(classes.values().copied().sum::<MicroCu>()));
        ranked.truncate(GAMES_RANKED);
        let costs = |changed: &str, change: Option<Change>| -> Vec<u128> {
            let cost = |class: &str, cost: MicroCu| match change {
                Some(Change::Doubled) if *class == *changed => u128::from(cost.0) * 4,
                Some(Change::Halved) if *class == *changed => u128::from(cost.0),
                _ => u128::from(cost.0) * 2,
            };
            let total = |classes: &BTreeMap<Box<str>, MicroCu>| {
                classes.iter().map(|(class, part)| cost(class, *part)).sum()
            };
            ranked.iter().map(|classes| total(classes)).collect()
        };
        let before = costs("", None);
        let assumed = weights.classes().iter().filter(|class| class.basis == Basis::Assumption);
        let used = assumed.filter(|class| ranked.iter().any(|classes| classes.contains_key(&class.name)));
        let mut shifts: Vec<Shift> = used
            .flat_map(|class| [Change::Halved, Change::Doubled].map(|change| (class.name.clone(), change)))
            .filter_map(|(class, change)| {
                let tau = kendall_tau(&before, &costs(&class, Some(change)))?;
                Some(Shift { class, change, tau })
            })
            .collect();
        shifts.sort_by(|left, right| left.tau.total_cmp(&right.tau));
        shifts
    }
}

/// Kendall's τ-b of two measures of the same things; `None` when one of them ranks nothing.
pub fn kendall_tau(left: &[u128], right: &[u128]) -> Option<f64> {
    let pairs = || {
        let both = || left.iter().zip(right);
        both().enumerate().flat_map(move |(at, first)| both().skip(at + 1).map(move |second| (first, second)))
    };
    let mut agreement = 0_i64;
    let (mut left_ranked, mut right_ranked) = (0_i64, 0_i64);
    for (first, second) in pairs() {
        let sign = |first: &u128, second: &u128| first.cmp(second) as i64;
        let (by_left, by_right) = (sign(first.0, second.0), sign(first.1, second.1));
        agreement += by_left * by_right;
        left_ranked += by_left.abs();
        right_ranked += by_right.abs();
    }
    let ranked = (left_ranked as f64 * right_ranked as f64).sqrt();
    (ranked > 0.0).then(|| agreement as f64 / ranked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_of_pairs() {
        let check = |left: &[u128], right: &[u128], expect: Option<f64>| {
            let near = |found: f64| expect.is_some_and(|expect| (found - expect).abs() < 1e-12);
            let found = kendall_tau(left, right);
            assert!(found.map_or(expect.is_none(), near), "{left:?} {right:?}: {found:?}");
        };
        check(&[1, 2, 3], &[10, 20, 30], Some(1.0));
        check(&[1, 2, 3], &[3, 2, 1], Some(-1.0));
        // Five pairs agree, one does not.
        check(&[1, 2, 3, 4], &[1, 2, 4, 3], Some(4.0 / 6.0));
        // A tie on one side: two pairs agree, of three there and two here.
        check(&[1, 2, 3], &[1, 1, 2], Some(2.0 / 6.0_f64.sqrt()));
        check(&[1, 1], &[1, 2], None);
        check(&[1], &[1], None);
        check(&[], &[], None);
    }

    fn usage(costs: &[(&str, &str, u64)]) -> Usage {
        let mut usage = Usage::default();
        for (game, class, cost) in costs {
            usage.add(game, class, MicroCu(*cost));
        }
        usage
    }

    #[test]
    fn a_ranking_by_public_prices_hangs_on_no_assumption() {
        let usage =
            usage(&[("a", "data_store_get", 5), ("b", "data_store_get", 9), ("c", "data_store_set", 7)]);
        assert!(usage.sensitivity(&Weights::default()).is_empty());
    }

    #[test]
    fn the_weight_that_decides_stands_first() {
        // Half of its messages, and a is behind b; twice of b's pages, and it is before a.
        let usage = usage(&[
            ("a", "message", 100),
            ("b", "list_page", 40),
            ("b", "data_store_get", 30),
            ("b", "data_store_get", 10),
            ("c", "profile_read", 1),
        ]);
        let shifts = usage.sensitivity(&Weights::default());
        let told: Vec<_> = shifts
            .iter()
            .map(|Shift { class, change, tau }| (&**class, *change, (tau * 3.0).round()))
            .collect();
        assert_eq!(
            told,
            [
                ("list_page", Change::Doubled, 1.0),
                ("message", Change::Halved, 1.0),
                ("list_page", Change::Halved, 3.0),
                ("message", Change::Doubled, 3.0),
                ("profile_read", Change::Halved, 3.0),
                ("profile_read", Change::Doubled, 3.0),
            ]
        );
        assert!(shifts.iter().any(|shift| shift.tau < MODEL_DRIVEN_BELOW));
    }

    #[test]
    fn only_the_top_is_ranked() {
        let mut usage = Usage::default();
        for game in 0..GAMES_RANKED as u64 {
            usage.add(&format!("top {game}"), "data_store_get", MicroCu(1000 + game));
        }
        usage.add("below", "message", MicroCu(999));
        assert!(usage.sensitivity(&Weights::default()).is_empty());
        usage.add("below", "message", MicroCu(2));
        assert_eq!(usage.sensitivity(&Weights::default()).len(), 2);
    }
}
