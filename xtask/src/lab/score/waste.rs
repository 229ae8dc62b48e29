//! Given: what came of a plan. Gives: what is claimed of each game and pattern, beside what is true. Refuses to know: how
//! good that is.

use std::collections::BTreeMap;

use rotrace::detect::Pattern;
use rotrace::detect::finding::Amount;
use rotrace::detect::pattern::Pool;

use crate::lab::synth::{Played, Told};

/// What is claimed, and what is true, of a pattern in a game.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Claimed {
    /// Calls; of patterns that waste nothing but bytes, bytes.
    pub(super) counted: (f64, f64),
    /// Seconds that servers were busy; 0 of patterns that waste nothing but bytes.
    pub(super) server_s: (f64, f64),
    /// Cost units; 0 of patterns that waste nothing but bytes.
    pub(super) cost: (f64, f64),
    /// What warnings claim at least and at most, in what is counted; `None` without a warning.
    pub(super) bounds: Option<(f64, f64)>,
}

impl Claimed {
    /// Whether the truth lies between what is claimed at least and at most. A closed form may fall between two numbers.
    pub(super) fn is_inside(&self) -> Option<bool> {
        let ((low, high), truth) = (self.bounds?, self.counted.1);
        Some(low <= truth.ceil() && truth.floor() <= high)
    }
}

/// By game and pattern. What is claimed of time and cost stands in the ledger; what is true of them is all that the marked
/// calls took.
pub(super) fn claims(played: &Played) -> BTreeMap<(&str, Pattern), Claimed> {
    let mut claims: BTreeMap<(&str, Pattern), Claimed> = BTreeMap::new();
    for wasted in &played.wasted {
        let (pattern, amount) = (wasted.pattern, wasted.amount);
        let own = claims.entry((&*wasted.names.game, pattern)).or_default();
        own.counted.0 += counted(pattern, amount);
        if pattern.pool() != Pool::Bytes {
            own.server_s.0 += seconds(amount);
            own.cost.0 += cost_units(amount);
        }
    }
    for episode in &played.episodes {
        let game = &*played.world.game(episode.process).name;
        claims.entry((game, episode.pattern)).or_default().counted.1 +=
            episode.wasted_calls + episode.wasted_bytes;
    }
    for (&(game, pattern), &amount) in &played.marked {
        let own = claims.entry((played.world.game_name(game), pattern)).or_default();
        own.server_s.1 += seconds(amount);
        own.cost.1 += cost_units(amount);
    }
    for Told { finding, .. } in played.findings.iter().filter(|told| told.warned_ns.is_some()) {
        // A warning of a game in which nothing is wasted and nothing was counted is judged elsewhere.
        let Some(own) = claims.get_mut(&(&*finding.game, finding.pattern)) else { continue };
        let (low, high) = own.bounds.unwrap_or_default();
        let of = |amount: Amount| counted(finding.pattern, amount);
        own.bounds = Some((low + of(finding.waste.low()), high + of(finding.waste.high())));
    }
    claims
}

fn counted(pattern: Pattern, amount: Amount) -> f64 {
    (if pattern.pool() == Pool::Bytes { amount.bytes } else { amount.calls }) as f64
}

fn seconds(amount: Amount) -> f64 {
    amount.server_ns as f64 / 1e9
}

fn cost_units(amount: Amount) -> f64 {
    amount.cost_ucu as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::Intensity;
    use crate::lab::scene::Tempo;
    use crate::lab::schedule::Settings;
    use crate::lab::synth::{Conditions, play};
    use crate::lab::world::Profile;

    fn played(name: &str) -> Played {
        let only = vec![name.to_owned()];
        let settings = Settings {
            seed: 5,
            profile: Profile::Small,
            length_s: 720,
            tempo: Tempo::Real,
            intensity: Intensity::Clear,
            only,
        };
        play(&settings, &Conditions::default(), |_| {}).expect("a plan").played
    }

    #[test]
    fn what_is_claimed_of_errors_is_what_the_marked_calls_took() {
        let mut played = played("S15");
        let all = claims(&played);
        let pattern = Pattern::ErrorLoop;
        let of_pattern = all.iter().filter(|((_, own), _)| *own == pattern).collect::<Vec<_>>();
        assert!(!of_pattern.is_empty());
        for (_, own) in of_pattern {
            assert_eq!(own.counted.0, own.counted.1);
            assert_eq!(own.is_inside(), Some(true));
            let (claimed, truth) = own.server_s;
            assert!(truth > 0.0 && (claimed - truth).abs() < 1e-6, "{claimed} of {truth} s");
            assert!(own.cost.1 > 0.0 && (own.cost.0 - own.cost.1).abs() < 1e-6, "{:?}", own.cost);
        }
        // Who claims nothing is wrong by all of it.
        played.wasted.clear();
        played.findings.clear();
        let silent = claims(&played);
        let own = silent.iter().find(|((_, own), _)| *own == pattern).expect("a truth").1;
        assert_eq!((own.counted.0, own.server_s.0, own.cost.0, own.is_inside()), (0.0, 0.0, 0.0, None));
    }

    #[test]
    fn bytes_are_counted_of_what_wastes_nothing_else() {
        let played = played("S10");
        let all = claims(&played);
        let of_bytes = all.iter().find(|((_, own), _)| *own == Pattern::MissingConditional).expect("it").1;
        assert!(of_bytes.counted.1 > 1e6, "{of_bytes:?}");
        assert_eq!((of_bytes.server_s, of_bytes.cost), ((0.0, 0.0), (0.0, 0.0)));
    }

    #[test]
    fn a_closed_form_between_two_numbers_is_inside() {
        let check = |bounds: Option<(f64, f64)>, truth: f64, expect: Option<bool>| {
            let own = Claimed { counted: (0.0, truth), bounds, ..Claimed::default() };
            assert_eq!(own.is_inside(), expect);
        };
        check(Some((9.0, 9.0)), 9.4, Some(true));
        check(Some((10.0, 10.0)), 9.4, Some(true));
        check(Some((11.0, 20.0)), 9.4, Some(false));
        check(Some((1.0, 8.0)), 9.4, Some(false));
        check(None, 9.4, None);
    }
}
