//! Given: calls of games, by their endpoint and path. Gives: about how many users each game asked about in the last minutes.
//! Refuses to know: who they are: only the highest ranks of hashes are kept.
//!
//! The sketch is HyperLogLog (Flajolet, Fusy, Gandouet and Meunier, 2007) with 1024 registers, so the standard error is
//! 3 %. Two sketches follow one another; a count is of both, and so of the last 5 to 10 minutes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Players;
use crate::endpoint::{canonical, stable_hash};

/// Games whose users are told apart at most; with 2 KiB each.
const GAMES_MAX: usize = 1000;

/// Time that one sketch takes.
const WINDOW_NS: u64 = 300 * 1_000_000_000;

/// Bits of a hash that choose the register.
const REGISTER_BITS: u32 = 10;

const REGISTERS: usize = 1 << REGISTER_BITS;

/// Users by game.
#[derive(Debug, Default)]
pub struct Estimate {
    games: BTreeMap<Arc<str>, Windows>,
    refused: u64,
}

#[derive(Debug)]
struct Windows {
    started_ns: u64,
    current: Sketch,
    previous: Sketch,
}

#[derive(Clone, Debug)]
struct Sketch(Box<[u8; REGISTERS]>);

impl Estimate {
    /// Looks at a call: its `endpoint` label, and its path without the query.
    pub fn observe(&mut self, game: &Arc<str>, endpoint: &str, path: &str, at_ns: u64) {
        let Some(user) = user(endpoint, path) else { return };
        if !self.games.contains_key(game) {
            if self.games.len() >= GAMES_MAX {
                self.refused += 1;
                return;
            }
            self.games.insert(Arc::clone(game), Windows::new(at_ns));
        }
        let Some(windows) = self.games.get_mut(game) else { return };
        windows.turn(at_ns);
        windows.current.add(stable_hash(0, user.as_bytes()));
    }

    /// How many users each game has asked about; a game that has not for two windows is forgotten.
    pub fn players(&mut self, now_ns: u64) -> Players {
        self.games.values_mut().for_each(|windows| windows.turn(now_ns));
        self.games.retain(|_, windows| !windows.current.is_empty() || !windows.previous.is_empty());
        let counts = self.games.iter().map(|(game, windows)| {
            let both = windows.current.joined(&windows.previous);
            (Arc::clone(game), both.count())
        });
        Players(counts.collect())
    }

    /// How many calls were not looked at, as there were so many games already.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl Windows {
    fn new(now_ns: u64) -> Self {
        Self { started_ns: now_ns, current: Sketch::default(), previous: Sketch::default() }
    }

    /// Begins a new window when the old one is over.
    fn turn(&mut self, now_ns: u64) {
        match now_ns.saturating_sub(self.started_ns) / WINDOW_NS {
            0 => {}
            1 => {
                self.previous = std::mem::take(&mut self.current);
                self.started_ns += WINDOW_NS;
            }
            _ => *self = Self::new(now_ns),
        }
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Sketch {
    fn add(&mut self, hash: u64) {
        let register = usize::try_from(hash >> (64 - REGISTER_BITS)).unwrap_or_default();
        // A one behind the hash ends the count where all of its bits are zero.
        let rank = ((hash << REGISTER_BITS) | 1 << (REGISTER_BITS - 1)).leading_zeros() + 1;
        if let Some(highest) = self.0.get_mut(register) {
            *highest = (*highest).max(u8::try_from(rank).unwrap_or(u8::MAX));
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|rank| *rank == 0)
    }

    fn joined(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.0.iter_mut().zip(other.0.iter()).for_each(|(rank, other)| *rank = (*rank).max(*other));
        joined
    }

    fn count(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| 2_f64.powi(-i32::from(*rank))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count();
        let few = raw <= 2.5 * registers && empty > 0;
        let count = if few { registers * (registers / empty as f64).ln() } else { raw };
        count.round() as u64
    }
}

/// The segment of a path that names a user: by the name of its parameter, or by the word before it.
fn user<'a>(endpoint: &str, path: &'a str) -> Option<&'a str> {
    let (_, template) = canonical::divided(endpoint);
    if template.is_empty() || template.matches('/').count() != path.matches('/').count() {
        return None;
    }
    let mut word = "";
    for (named, segment) in template.split('/').zip(path.split('/')) {
        if let Some(name) = named.strip_prefix('{').and_then(|named| named.strip_suffix('}')) {
            let name = name.replace('_', "").to_ascii_lowercase();
            if matches!(name.as_str(), "userid" | "playerid") || matches!(word, "user" | "users" | "players")
            {
                return Some(segment);
            }
        }
        word = named;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;

    #[test]
    fn users_are_found_in_paths() {
        let check = |endpoint, path, expect| assert_eq!(user(endpoint, path), expect, "{endpoint} {path}");
        check("a.x/v1/users/{id}", "/v1/users/7", Some("7"));
        check("a.x/v1/users/{id}/friends", "/v1/users/7/friends", Some("7"));
        check("a.x/v1/games/{id}/by/{user_id}", "/v1/games/9/by/7", Some("7"));
        check("a.x/v1/games/{playerId}", "/v1/games/9", Some("9"));
        check("a.x/v1/users/search", "/v1/users/search", None);
        check("a.x/v1/games/{id}", "/v1/games/9", None);
        check("a.x/users/**", "/users/7/8", None);
        check("unknown", "/users/7", None);
        check("", "", None);
    }

    fn observe(estimate: &mut Estimate, users: std::ops::Range<u64>, at_ns: u64) {
        for user in users {
            estimate.observe(&"a".into(), "a.x/users/{id}", &format!("/users/{user}"), at_ns);
        }
    }

    fn count(estimate: &mut Estimate, now_ns: u64) -> Option<u64> {
        estimate.players(now_ns).0.get("a").copied()
    }

    #[test]
    fn counts_are_near() {
        for users in [1, 10, 50, 700, 3000, 20_000] {
            let mut estimate = Estimate::default();
            // Each asked about twice.
            observe(&mut estimate, 0..users, 0);
            observe(&mut estimate, 0..users, MINUTE_NS);
            let found = count(&mut estimate, MINUTE_NS).unwrap();
            // Three standard errors.
            assert!(found.abs_diff(users) <= 1 + users / 10, "{found} is not near {users}");
        }
    }

    #[test]
    fn users_are_forgotten() {
        let mut estimate = Estimate::default();
        observe(&mut estimate, 0..10, 0);
        observe(&mut estimate, 100..120, 6 * MINUTE_NS);
        assert_eq!(count(&mut estimate, 9 * MINUTE_NS), Some(30));
        assert_eq!(count(&mut estimate, 12 * MINUTE_NS), Some(20));
        assert_eq!(count(&mut estimate, 25 * MINUTE_NS), None);
        assert_eq!(estimate.games.len(), 0);
    }

    #[test]
    fn games_are_bounded() {
        let mut estimate = Estimate::default();
        for game in 0..GAMES_MAX + 3 {
            estimate.observe(&format!("{game}").into(), "a.x/users/{id}", "/users/7", 0);
        }
        assert_eq!((estimate.games.len(), estimate.refused()), (GAMES_MAX, 3));
    }
}
