//! Given: findings as they reach a severity. Gives: how many did, by game and pattern, a bounded number. Refuses to know:
//! the findings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::finding::Severity;
use super::pattern::Pattern;
use crate::summary::{MAX_GAMES, OTHER, Summary};

/// Episodes by game, pattern and severity. They only grow for as long as the game is there; another game than
/// [`MAX_GAMES`] counts as [`OTHER`].
#[derive(Debug, Default)]
pub(super) struct Episodes {
    games: BTreeMap<Arc<str>, Game>,
    expired: u64,
}

#[derive(Debug, Default)]
struct Game {
    counts: BTreeMap<(Pattern, Severity), u64>,
    last_ns: u64,
}

impl Episodes {
    /// One has reached this severity.
    pub(super) fn count(&mut self, game: &Arc<str>, pattern: Pattern, severity: Severity, now_ns: u64) {
        let has_room = self.games.len() < MAX_GAMES || self.games.contains_key(game);
        let name = if has_room { Arc::clone(game) } else { OTHER.into() };
        let game = self.games.entry(name).or_default();
        game.last_ns = game.last_ns.max(now_ns);
        *game.counts.entry((pattern, severity)).or_default() += 1;
    }

    /// Forgets games that had none for `idle_ns` and are not there any more, as far as `summary` has them.
    pub(super) fn expire(&mut self, now_ns: u64, idle_ns: u64, summary: &Summary) {
        let before = self.games.len();
        self.games
            .retain(|name, game| now_ns.saturating_sub(game.last_ns) < idle_ns || summary.has_game(name));
        self.expired += (before - self.games.len()) as u64;
    }

    /// Each count.
    pub(super) fn iter(&self) -> impl Iterator<Item = ((Arc<str>, Pattern, Severity), u64)> {
        self.games.iter().flat_map(|(name, game)| {
            let counts = game.counts.iter();
            counts.map(|(&(pattern, severity), &count)| ((Arc::clone(name), pattern, severity), count))
        })
    }

    /// Games that were forgotten.
    pub(super) fn expired(&self) -> u64 {
        self.expired
    }
}
