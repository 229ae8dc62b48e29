//! Given: planned calls with their true tasks, which stand for parent spans. Gives: what the published criteria of Sentry
//! say of them ("criteria of Sentry", as of its sources in 2026). Refuses to know: any of its code, and that its first
//! criterion is meant for browsers alone.

use std::collections::BTreeMap;

use rotrace::detect::Pattern;

use super::{Comparator, merged};
use crate::lab::api::Api;
use crate::lab::plan::{MS, Planned};
use crate::lab::score::matching::Statement;
use crate::lab::world::World;

const START_APART_NS: u64 = 15 * MS;
const CALLS_MIN: usize = 5;
const TOTAL_NS: u64 = 300 * MS;

/// N+1 API calls: reads of one parent whose starts are less than 15 ms apart and whose URL is the same but for parameters;
/// five of them, 300 ms together.
const N_PLUS_ONE_API: Criterion = Criterion {
    name: "criteria of Sentry: N+1 API calls",
    pattern: Pattern::NPlusOne,
    counts: |call| {
        let has_parameter = call.api.terms().endpoint.contains('{') || call.target.contains('?');
        call.api.terms().method == "GET" && has_parameter
    },
    goes_on: |run, call| run.what == what(call) && call.start_ns - run.starts_ns.1 < START_APART_NS,
    is_one: |run| run.times_ns.len() >= CALLS_MIN && run.total_ns() >= TOTAL_NS,
};

const EACH_NS: u64 = 500 * MS;
const BETWEEN_NS: u64 = 500 * MS;
const CONSECUTIVE_MIN: usize = 3;
const HOSTS_MAX: usize = 2;
const SAVING_NS: u64 = 2_000 * MS;

/// Consecutive HTTP: one after the other, each at least 500 ms, less than 500 ms between; three of them, less than three
/// hosts, and 2 s to be saved.
const CONSECUTIVE_HTTP: Criterion = Criterion {
    name: "criteria of Sentry: consecutive HTTP",
    pattern: Pattern::SerialWaterfall,
    counts: |call| call.end_ns() - call.start_ns >= EACH_NS,
    goes_on: |run, call| call.start_ns >= run.end_ns && call.start_ns - run.end_ns < BETWEEN_NS,
    is_one: |run| {
        let longest_ns = run.times_ns.iter().max().copied().unwrap_or(0);
        run.times_ns.len() >= CONSECUTIVE_MIN
            && run.hosts.len() <= HOSTS_MAX
            && run.total_ns() - longest_ns >= SAVING_NS
    },
};

/// What a run of calls of one parent has to be.
#[derive(Debug)]
struct Criterion {
    name: &'static str,
    pattern: Pattern,
    /// A call can be in a run; one that cannot ends it.
    counts: fn(&Planned) -> bool,
    /// A call belongs to the run.
    goes_on: fn(&Run, &Planned) -> bool,
    /// The run, which is over, is told.
    is_one: fn(&Run) -> bool,
}

/// One criterion, and the runs that are not over.
#[derive(Debug)]
pub(super) struct Sentry {
    criterion: &'static Criterion,
    /// By parent.
    runs: BTreeMap<u64, Run>,
    said: Vec<Statement>,
}

/// Calls of one parent that follow each other.
#[derive(Debug, Default)]
struct Run {
    process: u32,
    what: (Option<Api>, Vec<String>),
    starts_ns: (u64, u64),
    end_ns: u64,
    times_ns: Vec<u64>,
    hosts: Vec<&'static str>,
}

impl Run {
    fn of(call: &Planned) -> Self {
        Run {
            process: call.process,
            what: what(call),
            starts_ns: (call.start_ns, call.start_ns),
            end_ns: call.end_ns(),
            times_ns: vec![call.end_ns() - call.start_ns],
            hosts: vec![call.api.authority()],
        }
    }

    fn add(&mut self, call: &Planned) {
        self.starts_ns.1 = call.start_ns;
        self.end_ns = self.end_ns.max(call.end_ns());
        self.times_ns.push(call.end_ns() - call.start_ns);
        if !self.hosts.contains(&call.api.authority()) {
            self.hosts.push(call.api.authority());
        }
    }

    fn statement(&self, pattern: Pattern) -> Option<Statement> {
        Some(Statement {
            pattern: Some(pattern),
            process: self.process,
            game: 0,
            endpoint: self.what.0?.terms().endpoint.to_owned(),
            start_ns: self.starts_ns.0,
            end_ns: self.end_ns,
            said_ns: self.end_ns,
        })
    }

    fn total_ns(&self) -> u64 {
        self.times_ns.iter().sum()
    }
}

/// The URL without its parameters: template and sorted keys of the query.
fn what(call: &Planned) -> (Option<Api>, Vec<String>) {
    let query = call.target.split_once('?').map_or("", |(_, query)| query);
    let keys = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default().to_owned());
    let mut keys: Vec<String> = keys.filter(|key| !key.is_empty()).collect();
    keys.sort_unstable();
    (Some(call.api), keys)
}

impl Sentry {
    pub(super) fn n_plus_one_api() -> Self {
        Sentry::of(&N_PLUS_ONE_API)
    }

    pub(super) fn consecutive_http() -> Self {
        Sentry::of(&CONSECUTIVE_HTTP)
    }

    fn of(criterion: &'static Criterion) -> Self {
        Sentry { criterion, runs: BTreeMap::new(), said: Vec::new() }
    }

    fn end(&mut self, task: u64) {
        let Some(run) = self.runs.remove(&task) else { return };
        if (self.criterion.is_one)(&run) {
            self.said.extend(run.statement(self.criterion.pattern));
        }
    }
}

impl Comparator for Sentry {
    fn name(&self) -> &'static str {
        self.criterion.name
    }

    fn take(&mut self, call: &Planned) {
        let Criterion { counts, goes_on, .. } = self.criterion;
        let counts = counts(call);
        if !counts || !self.runs.get(&call.task).is_some_and(|run| goes_on(run, call)) {
            self.end(call.task);
        }
        if !counts {
            return;
        }
        match self.runs.get_mut(&call.task) {
            Some(run) => run.add(call),
            None => {
                self.runs.insert(call.task, Run::of(call));
            }
        }
    }

    fn finish(&mut self, _: &World, _: usize) -> anyhow::Result<Vec<Statement>> {
        for task in self.runs.keys().copied().collect::<Vec<u64>>() {
            self.end(task);
        }
        Ok(merged(std::mem::take(&mut self.said)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::{Intensity, SECOND};
    use crate::lab::random::Random;
    use crate::lab::scene::Scene;
    use crate::lab::world::Profile;

    /// Calls of one task: when each begins and how long it takes, in milliseconds.
    fn check(comparator: &mut dyn Comparator, api: Api, times_ms: &[(u64, u64)], expect: usize) {
        let world = World::new(1, Profile::Small, 60 * SECOND);
        let mut scene = Scene::new(&world, ("S0", 1, 0), (0, 0), Intensity::Clear, Random::of(1, &[]));
        for &(start_ms, time_ms) in times_ms {
            let id = scene.id();
            let mut call = scene.call(api, &[&id], SECOND + start_ms * MS);
            call.reply.first_byte_ns = time_ms * MS;
            call.reply.body_bytes = 0;
            comparator.take(&call);
        }
        let said = comparator.finish(&world, 0).expect("statements");
        assert_eq!(said.len(), expect, "{said:?}");
    }

    #[test]
    fn five_reads_close_together_are_n_plus_one() {
        let reads = |apart_ms: u64, count: u64| (0..count).map(|n| (n * apart_ms, 70)).collect::<Vec<_>>();
        check(&mut Sentry::n_plus_one_api(), Api::USER, &reads(14, 5), 1);
        check(&mut Sentry::n_plus_one_api(), Api::USER, &reads(14, 4), 0);
        check(&mut Sentry::n_plus_one_api(), Api::USER, &reads(15, 9), 0);
        check(&mut Sentry::n_plus_one_api(), Api::USERS, &reads(5, 9), 0);
    }

    #[test]
    fn slow_calls_that_follow_each_other_are_consecutive() {
        let calls = |time_ms: u64| (0..3).map(|n| (n * (time_ms + 100), time_ms)).collect::<Vec<_>>();
        check(&mut Sentry::consecutive_http(), Api::USER, &calls(1000), 1);
        check(&mut Sentry::consecutive_http(), Api::USER, &calls(900), 0);
        check(&mut Sentry::consecutive_http(), Api::USER, &[(0, 1000), (500, 1000), (900, 1000)], 0);
    }
}
