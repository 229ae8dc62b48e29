//! Given: calls, and frames, whose endpoint is in doubt. Gives: their figures, once there is no doubt. Refuses to know: how
//! it ends.
//!
//! A counter that was shown cannot be moved to another label. So what may yet get another is not shown, for a while.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::series::{Series, last_ns};
use crate::call::Call;
use crate::exchange::{Direction, Role};
use crate::http::websocket::Tally;

/// So long calls are held back at most.
pub const HELD_NS: u64 = 60_000_000_000;

/// Keys that are held back at one time; the calls of more are shown as they come. All together have about 4 MiB.
const KEYS: usize = 1024;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `None` when no rule found it.
    pub game: Option<Arc<str>>,
    /// Where the calls went.
    pub endpoint: Arc<str>,
    /// Who made them.
    pub role: Role,
}

/// Figures that are not shown, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    series: BTreeMap<Key, (u64, Arc<Series>)>,
}

impl Held {
    pub(super) fn has_room(&self, key: &Key) -> bool {
        self.series.len() < KEYS || self.series.contains_key(key)
    }

    pub(super) fn record(&mut self, call: &Call) {
        self.series_mut(Key::of(call), last_ns(&call.exchange)).record(call);
    }

    pub(super) fn record_frames(&mut self, key: &Key, at_ns: u64, direction: Direction, tally: Tally) {
        self.series_mut(key.clone(), at_ns).record_frames(at_ns, direction, tally);
    }

    fn series_mut(&mut self, key: Key, at_ns: u64) -> &mut Series {
        let (_, series) = self.series.entry(key).or_insert_with(|| (at_ns, Arc::default()));
        Arc::make_mut(series)
    }

    /// Takes out what may be shown, with the endpoint it has now.
    pub(super) fn release(
        &mut self,
        now_ns: u64,
        settled: &mut dyn FnMut(&str) -> (Arc<str>, bool),
    ) -> Vec<(Key, Arc<Series>)> {
        let mut endpoints = Vec::new();
        let released = self.series.extract_if(.., |key, (since_ns, _)| {
            let (endpoint, is_doubtful) = settled(&key.endpoint);
            let is_over = !is_doubtful || now_ns.saturating_sub(*since_ns) >= HELD_NS;
            endpoints.extend(is_over.then_some(endpoint));
            is_over
        });
        let released: Vec<_> = released.collect();
        let renamed = released.into_iter().zip(endpoints);
        renamed.map(|((key, (_, series)), endpoint)| (Key { endpoint, ..key }, series)).collect()
    }

    pub(super) fn calls(&self) -> u64 {
        self.series.values().map(|(_, series)| series.total()).sum()
    }
}

impl Key {
    /// Of a call.
    pub fn of(call: &Call) -> Key {
        Key { game: call.game.clone(), endpoint: call.endpoint.clone(), role: call.exchange.role }
    }
}
