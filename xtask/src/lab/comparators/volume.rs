//! Given: planned calls. Gives: the endpoints of processes that are called most, as many as there are problems. Refuses to
//! know: anything but how often something is called.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Comparator;
use crate::lab::api::Api;
use crate::lab::plan::Planned;
use crate::lab::score::matching::Statement;
use crate::lab::world::World;

#[derive(Debug, Default)]
pub(super) struct Volume {
    /// Calls, the first and the last.
    called: BTreeMap<(u32, Api), (u64, u64, u64)>,
}

impl Comparator for Volume {
    fn name(&self) -> &'static str {
        "top N by volume"
    }

    fn take(&mut self, call: &Planned) {
        let (calls, _, end_ns) = self.called.entry((call.process, call.api)).or_insert((0, call.start_ns, 0));
        *calls += 1;
        *end_ns = (*end_ns).max(call.end_ns());
    }

    fn finish(&mut self, _: &World, truths: usize) -> anyhow::Result<Vec<Statement>> {
        let mut called: Vec<_> = std::mem::take(&mut self.called).into_iter().collect();
        called.sort_by_key(|&(place, (calls, ..))| (Reverse(calls), place));
        let statement = |((process, api), (_, start_ns, end_ns)): ((u32, Api), (u64, u64, u64))| Statement {
            pattern: None,
            process,
            game: 0,
            endpoint: api.terms().endpoint.to_owned(),
            start_ns,
            end_ns,
            said_ns: end_ns,
        };
        Ok(called.into_iter().take(truths).map(statement).collect())
    }
}
