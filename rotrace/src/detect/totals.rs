//! Given: waste that nothing can displace any more, and whose it is. Gives: its sums by endpoint of a game, pattern and
//! class. Refuses to know: why something is wasted.
//!
//! A sum only grows for as long as its endpoint is called. What has been idle is forgotten, as the series of calls are;
//! and what comes when there is no room counts for its game as a whole, so that no waste is ever lost.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::detector::State;
use super::finding::{Amount, Class};
use super::pattern::Pattern;
use super::subject::Names;
use crate::conn::Scatter;
use crate::summary::{MAX_GAMES, OTHER, Summary};

/// Endpoints of games whose waste is kept apart: as many as have series of calls, more or less. Each is about four time
/// series a pattern, and takes some 500 bytes.
pub const OWNERS_MAX: usize = 1024;

/// Whose waste is counted: an endpoint of a game, or one of its authorities as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// As in [`super::observation::Observation::endpoint`], or a number of an authority and a game.
    pub endpoint: u64,
    /// As in [`super::observation::Observation::game`].
    pub game: u64,
}

/// What was counted for good.
#[derive(Debug, Default)]
pub struct Totals {
    accounts: HashMap<u64, Account, BuildHasherDefault<Scatter>>,
    /// By game, what found no room; `None` is of all games that found none either.
    rest: BTreeMap<Option<u64>, Account>,
    /// Amounts that found no room.
    overflowed: u64,
    expired: u64,
    /// Calls that were counted as waste since they were last taken; nothing unless somebody follows them.
    followed: Option<Vec<(u64, Pattern)>>,
}

#[derive(Debug)]
struct Account {
    names: Arc<Names>,
    sums: BTreeMap<(Pattern, Class), Amount>,
    /// When it was opened or counted last.
    last_ns: u64,
}

impl Totals {
    /// Waste of this owner will be counted, under these names.
    pub fn open(&mut self, owner: Owner, now_ns: u64, names: impl FnOnce() -> Arc<Names>) {
        let is_full = self.accounts.len() >= OWNERS_MAX;
        if let Some(account) = self.accounts.get_mut(&owner.endpoint) {
            account.last_ns = account.last_ns.max(now_ns);
            return;
        }
        if !is_full {
            self.accounts.insert(owner.endpoint, Account::new(names(), now_ns));
            return;
        }
        if self.rest.len() < MAX_GAMES && !self.rest.contains_key(&Some(owner.game)) {
            let names = Arc::new(names().of_game());
            self.rest.insert(Some(owner.game), Account::new(names, now_ns));
        }
    }

    /// Counts for good.
    pub fn count(&mut self, owner: Owner, pattern: Pattern, class: Class, amount: Amount, now_ns: u64) {
        let Totals { accounts, rest, overflowed, .. } = self;
        let account = match accounts.get_mut(&owner.endpoint) {
            Some(account) => account,
            None => {
                *overflowed += 1;
                let known = Some(owner.game).filter(|game| rest.contains_key(&Some(*game)));
                rest.entry(known).or_insert_with(|| Account::new(Arc::new(Names::unknown().of_all()), now_ns))
            }
        };
        account.last_ns = account.last_ns.max(now_ns);
        let sum = account.sums.entry((pattern, class)).or_default();
        *sum = sum.plus(amount);
    }

    /// Keeps from now on, until they are taken, which calls are counted as waste: for whoever takes them once a second or so
    /// and knows the truth of each.
    pub fn follow(&mut self) {
        self.followed.get_or_insert_default();
    }

    /// A call was counted as waste.
    pub fn note(&mut self, seq: u64, pattern: Pattern, amount: Amount) {
        if let Some(followed) = self.followed.as_mut().filter(|_| amount.calls > 0) {
            followed.push((seq, pattern));
        }
    }

    /// Calls that were counted as waste since they were last taken, by number and pattern.
    pub fn take_followed(&mut self) -> Vec<(u64, Pattern)> {
        self.followed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Forgets what has had no waste for `idle_ns` and is not called any more either, as far as `summary` has its calls.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64, summary: &Summary) {
        let is_kept = |account: &Account| {
            let Names { game, endpoint, authority, .. } = &*account.names;
            let is_whole = endpoint == authority;
            now_ns.saturating_sub(account.last_ns) < idle_ns
                || if is_whole { summary.has_game(game) } else { summary.has_endpoint(game, endpoint) }
        };
        let before = self.state().entries;
        self.accounts.retain(|_, account| is_kept(account));
        // What counts for all games is never idle for long on a host that is so full, and is one account.
        self.rest.retain(|game, account| game.is_none() || is_kept(account));
        self.expired += (before - self.state().entries) as u64;
    }

    /// Each sum, with whose it is.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Names>, Pattern, Class, Amount)> {
        let accounts = self.accounts.values().chain(self.rest.values());
        accounts.flat_map(|Account { names, sums, .. }| {
            sums.iter().map(move |(&(pattern, class), &amount)| (names, pattern, class, amount))
        })
    }

    /// Owners that are kept apart, and amounts that found no room.
    pub fn state(&self) -> State {
        State { entries: self.accounts.len() + self.rest.len(), evicted: self.overflowed }
    }

    /// Owners that were forgotten since they were idle.
    pub fn expired(&self) -> u64 {
        self.expired
    }
}

impl Account {
    fn new(names: Arc<Names>, last_ns: u64) -> Self {
        Account { names, sums: BTreeMap::new(), last_ns }
    }
}

impl Names {
    /// Of its game as a whole.
    fn of_game(&self) -> Self {
        Names { game: Arc::clone(&self.game), ..Names::unknown() }
    }

    /// Of all games.
    fn of_all(&self) -> Self {
        Names { game: OTHER.into(), ..self.of_game() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::fixture::call;

    const SECOND_NS: u64 = 1_000_000_000;
    const ONE: Amount = Amount { calls: 1, bytes: 0, server_ns: 0, cost_ucu: 0 };

    fn names(game: &str, endpoint: &str) -> Arc<Names> {
        let [game, endpoint, authority, method] = [game, endpoint, "api.test", "GET"].map(Arc::from);
        Arc::new(Names { game, endpoint, authority, method })
    }

    fn owner(endpoint: u64, game: u64) -> Owner {
        Owner { endpoint, game }
    }

    fn count(totals: &mut Totals, owner: Owner, now_ns: u64) {
        totals.count(owner, Pattern::NPlusOne, Class::Avoidable, ONE, now_ns);
    }

    fn sums(totals: &Totals) -> Vec<(String, u64)> {
        let line = |names: &Names| format!("{} {}", names.game, names.endpoint);
        totals.iter().map(|(names, _, _, amount)| (line(names), amount.calls)).collect()
    }

    #[test]
    fn calls_are_noted_for_whoever_follows() {
        let mut totals = Totals::default();
        totals.note(1, Pattern::NPlusOne, ONE);
        assert_eq!(totals.take_followed(), []);
        totals.follow();
        totals.note(2, Pattern::RetryStorm, ONE);
        // Bytes of a call that had to be made are no wasted call.
        totals.note(3, Pattern::UncompressedPayload, Amount { calls: 0, ..ONE });
        assert_eq!(totals.take_followed(), [(2, Pattern::RetryStorm)]);
        assert_eq!(totals.take_followed(), []);
    }

    #[test]
    fn what_finds_no_room_counts_for_its_game_and_then_for_all() {
        let mut totals = Totals::default();
        let full = OWNERS_MAX as u64;
        for number in 0..full + 2 * MAX_GAMES as u64 {
            let owner = owner(number, number);
            totals.open(owner, 0, || names(&format!("game-{number}"), "api.test/a"));
            count(&mut totals, owner, 0);
        }
        assert_eq!(
            totals.state(),
            State { entries: OWNERS_MAX + MAX_GAMES + 1, evicted: 2 * MAX_GAMES as u64 }
        );
        let sums = sums(&totals);
        assert_eq!(sums.len(), OWNERS_MAX + MAX_GAMES + 1);
        assert!(sums.contains(&("game-3 api.test/a".to_owned(), 1)));
        assert!(sums.contains(&(format!("game-{full} other"), 1)));
        assert!(sums.contains(&("other other".to_owned(), MAX_GAMES as u64)));
    }

    #[test]
    fn what_is_called_keeps_its_sums_and_what_is_idle_loses_them() {
        let mut totals = Totals::default();
        let mut summary = Summary::default();
        summary.record(&call("chess", "api.test/a"));
        for (number, game, endpoint) in [
            (0, "chess", "api.test/a"),
            (1, "chess", "api.test/b"),
            (2, "chess", "api.test"),
            (3, "go", "api.test"),
        ] {
            totals.open(owner(number, 7), 0, || names(game, endpoint));
            count(&mut totals, owner(number, 7), number * SECOND_NS);
        }
        let idle_ns = 60 * SECOND_NS;
        totals.expire(60 * SECOND_NS, idle_ns, &summary);
        assert_eq!(totals.state().entries, 4, "one is called, and the others are not idle so long");
        totals.expire(61 * SECOND_NS, idle_ns, &summary);
        totals.expire(3600 * SECOND_NS, idle_ns, &summary);
        let left = [("chess api.test/a".to_owned(), 1), ("chess api.test".to_owned(), 1)];
        assert_eq!((sums(&totals), totals.expired()), (left.to_vec(), 2));
        count(&mut totals, owner(0, 7), 3601 * SECOND_NS);
        assert_eq!(sums(&totals)[0].1, 2);
        totals.expire(7200 * SECOND_NS, idle_ns, &Summary::default());
        assert_eq!((sums(&totals), totals.expired()), (vec![], 4));
    }

    #[test]
    fn what_was_forgotten_while_a_claim_was_open_is_counted_all_the_same() {
        let mut totals = Totals::default();
        totals.open(owner(1, 7), 0, || names("chess", "api.test/a"));
        totals.expire(60 * SECOND_NS, SECOND_NS, &Summary::default());
        count(&mut totals, owner(1, 7), 61 * SECOND_NS);
        assert_eq!(sums(&totals), [("other other".to_owned(), 1)]);
        assert_eq!(totals.state().evicted, 1);
    }
}
