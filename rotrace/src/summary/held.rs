//! Given: calls whose endpoint is in doubt. Gives: their figures, once there is no doubt. Refuses to know: how it ends.
//!
//! A counter that was shown cannot be moved to another label. So what may yet get another is not shown, for a while.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::series::{Series, last_ns};
use crate::call::Call;
use crate::exchange::Role;

/// So long calls are held back at most.
pub const HELD_NS: u64 = 60_000_000_000;

/// Keys that are held back at one time; the calls of more are shown as they come. All together have about 4 MiB.
const KEYS: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) game: Option<Arc<str>>,
    pub(super) endpoint: Arc<str>,
    pub(super) role: Role,
}

/// Figures that are not shown, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    series: BTreeMap<Key, (u64, Arc<Series>)>,
}

impl Held {
    pub(super) fn has_room(&self, call: &Call) -> bool {
        self.series.len() < KEYS || self.series.contains_key(&key(call))
    }

    pub(super) fn record(&mut self, call: &Call) {
        let (_, series) =
            self.series.entry(key(call)).or_insert_with(|| (last_ns(&call.exchange), Arc::default()));
        Arc::make_mut(series).record(call);
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

fn key(call: &Call) -> Key {
    Key { game: call.game.clone(), endpoint: call.endpoint.clone(), role: call.exchange.role }
}
