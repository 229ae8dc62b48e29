//! Given: counts of players by game, each with its time. Gives: player seconds by game, so that costs can be divided by
//! them. Refuses to know: where the counts were read, and what is divided.
//!
//! A count holds until the next one. What a feed reports goes before what calls let estimate, and the seconds of the two
//! are kept apart; where nobody knows how many players there are, no seconds are counted.

mod estimate;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalogue::{Fault, read};

pub use estimate::Estimate;

/// Games at most, in a file and in the totals.
pub const GAMES_MAX: usize = 10_000;

/// Players of each game at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Players(pub BTreeMap<Arc<str>, u64>);

impl Players {
    /// Reads a file or the body of an answer: `{"game": 12}` in JSON, or `game = 12` in TOML.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        // No TOML document begins with a brace, and no object of JSON with anything else.
        let games: BTreeMap<Box<str>, u64> = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| Fault {
                line: error.line(),
                column: error.column(),
                message: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
            })?
        } else {
            read(text)?
        };
        if games.len() > GAMES_MAX {
            let message = format!("{} games, more than {GAMES_MAX}", games.len());
            return Err(Fault { line: 1, column: 1, message });
        }
        Ok(Self(games.into_iter().map(|(game, players)| (game.into(), players)).collect()))
    }
}

/// Who says how many players there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A feed of the platform.
    Reported,
    /// The ids of users in paths of calls.
    Estimated,
}

impl Source {
    /// As labels have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
        }
    }
}

/// Player seconds by game; for `rotrace_player_seconds_total`. They only grow.
#[derive(Clone, Debug, Default)]
pub struct PlayerSeconds {
    games: BTreeMap<Arc<str>, Game>,
    until_ns: Option<u64>,
    refused: u64,
}

/// What is known of a game.
#[derive(Clone, Debug, Default)]
struct Game {
    reported: Option<u64>,
    estimated: Option<u64>,
    reported_ns: u128,
    estimated_ns: u128,
}

impl PlayerSeconds {
    /// What a feed says from `now_ns` on; of a game that it does not name, nothing is reported any more. An empty one is
    /// for a feed that is lost.
    pub fn report(&mut self, now_ns: u64, players: &Players) {
        self.replace(now_ns, players, |game| &mut game.reported);
    }

    /// What calls let estimate from `now_ns` on.
    pub fn estimate(&mut self, now_ns: u64, players: &Players) {
        self.replace(now_ns, players, |game| &mut game.estimated);
    }

    /// Counts the time until `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        let passed = self.until_ns.map_or(0, |until_ns| u128::from(now_ns.saturating_sub(until_ns)));
        self.until_ns = Some(self.until_ns.unwrap_or_default().max(now_ns));
        for Game { reported, estimated, reported_ns, estimated_ns } in self.games.values_mut() {
            match (*reported, *estimated) {
                (Some(players), _) => *reported_ns += u128::from(players) * passed,
                (None, Some(players)) => *estimated_ns += u128::from(players) * passed,
                (None, None) => {}
            }
        }
    }

    /// Seconds by game and source, where there was a count.
    pub fn totals(&self) -> impl Iterator<Item = (&Arc<str>, Source, f64)> {
        let seconds = |ns: u128| ns as f64 / 1e9;
        self.games.iter().flat_map(move |(name, game)| {
            let Game { reported, estimated, reported_ns, estimated_ns } = game;
            let reported =
                (reported.is_some() || *reported_ns > 0).then_some((Source::Reported, *reported_ns));
            let estimated =
                (estimated.is_some() || *estimated_ns > 0).then_some((Source::Estimated, *estimated_ns));
            reported.into_iter().chain(estimated).map(move |(source, ns)| (name, source, seconds(ns)))
        })
    }

    /// How many counts were not taken, as there were [`GAMES_MAX`] games already.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn replace(&mut self, now_ns: u64, players: &Players, count: fn(&mut Game) -> &mut Option<u64>) {
        self.advance(now_ns);
        self.games.values_mut().for_each(|game| *count(game) = None);
        for (name, players) in &players.0 {
            if self.games.len() >= GAMES_MAX && !self.games.contains_key(name) {
                self.refused += 1;
                continue;
            }
            *count(self.games.entry(Arc::clone(name)).or_default()) = Some(*players);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn players(counts: &[(&str, u64)]) -> Players {
        Players(counts.iter().map(|(game, count)| ((*game).into(), *count)).collect())
    }

    #[test]
    fn json_and_toml_are_read() {
        let expect = players(&[("7", 12), ("obby rush", 0)]);
        assert_eq!(Players::parse(" {\"7\": 12, \"obby rush\": 0}\n").unwrap(), expect);
        assert_eq!(Players::parse("7 = 12\n\"obby rush\" = 0").unwrap(), expect);
        assert_eq!(Players::parse("").unwrap(), players(&[]));
        let fault = |text: &str| Players::parse(text).unwrap_err().to_string();
        assert_eq!(
            fault("{\"a\": 1,\n \"b\": -2}"),
            "line 2, column 8: invalid value: integer `-2`, expected u64"
        );
        assert!(fault("a = 1\nb = 1.5").starts_with("line 2, column 5: invalid type: floating point `1.5`"));
        assert!(fault("{").starts_with("line 1, column 1: EOF"));
        let many: String = (0..=GAMES_MAX).map(|game| format!("{game} = 1\n")).collect();
        assert_eq!(fault(&many), "line 1, column 1: 10001 games, more than 10000");
    }

    fn check(seconds: &PlayerSeconds, expect: &[(&str, Source, f64)]) {
        let found: Vec<_> =
            seconds.totals().map(|(game, source, seconds)| (&**game, source, seconds)).collect();
        assert_eq!(found, expect);
    }

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_count_holds_until_the_next() {
        let mut seconds = PlayerSeconds::default();
        seconds.advance(5 * SECOND_NS);
        check(&seconds, &[]);
        seconds.report(10 * SECOND_NS, &players(&[("a", 3), ("b", 0)]));
        check(&seconds, &[("a", Source::Reported, 0.0), ("b", Source::Reported, 0.0)]);
        seconds.advance(12 * SECOND_NS);
        seconds.report(14 * SECOND_NS, &players(&[("a", 10)]));
        seconds.advance(15 * SECOND_NS);
        // Of b there is no count any more, so it has what it had.
        check(&seconds, &[("a", Source::Reported, 22.0)]);
        // Time does not run backwards.
        seconds.advance(SECOND_NS);
        seconds.advance(15 * SECOND_NS);
        check(&seconds, &[("a", Source::Reported, 22.0)]);
        seconds.report(16 * SECOND_NS, &Players::default());
        seconds.advance(99 * SECOND_NS);
        check(&seconds, &[("a", Source::Reported, 32.0)]);
    }

    #[test]
    fn reports_go_before_estimates_and_their_seconds_are_apart() {
        let mut seconds = PlayerSeconds::default();
        seconds.estimate(0, &players(&[("a", 2), ("b", 5)]));
        seconds.report(10 * SECOND_NS, &players(&[("a", 3)]));
        seconds.advance(20 * SECOND_NS);
        check(
            &seconds,
            &[("a", Source::Reported, 30.0), ("a", Source::Estimated, 20.0), ("b", Source::Estimated, 100.0)],
        );
    }

    #[test]
    fn games_are_bounded() {
        let mut seconds = PlayerSeconds::default();
        let many =
            |from: usize, to: usize| Players((from..to).map(|game| (format!("{game}").into(), 1)).collect());
        seconds.report(0, &many(0, GAMES_MAX));
        seconds.report(SECOND_NS, &many(GAMES_MAX, GAMES_MAX + 7));
        seconds.advance(2 * SECOND_NS);
        assert_eq!((seconds.totals().count(), seconds.refused()), (GAMES_MAX, 7));
    }
}
