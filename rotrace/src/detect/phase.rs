//! Given: calls, and how far the clock of the wall is from theirs. Gives: of each endpoint of a game, the seconds of the
//! minute in which processes begin to call it. Refuses to know: whether that is a herd; one host sees too few of its
//! servers to say.
//!
//! A process begins with a call before which it was quiet, so whoever calls all the time never does: the first call of each
//! minute of such a process would stand near the full minute, whatever the others do.
//!
//! Servers of one game that all refresh at the full minute come together at the service from everywhere. Counts of several
//! hosts can be added: whoever has all of them takes the mean direction of the seconds on a circle, and a herd is where it
//! is long (Rayleigh's test). How well the clocks of hosts agree is not known here.

use super::detector::{Budget, State};
use super::observation::Observation;
use super::table::Table;

/// Seconds of a minute.
pub const SECONDS: usize = 60;

/// So long has a process not called an endpoint when its next call is a first one. Whoever comes once a minute, more or
/// less, is seen; whoever comes twice a minute has no direction on the circle of a minute.
pub const QUIET_NS: u64 = 45 * SECOND_NS;

/// Endpoints of games that are counted; another one takes the place of the longest unused.
const PHASES: usize = 1024;

/// Endpoints of processes of which is known when they were called last.
const SCOPES: usize = 8192;

const SECOND_NS: u64 = 1_000_000_000;

/// First calls after a quiet time, by endpoint of a game.
#[derive(Debug)]
pub struct Phases {
    phases: Table<Counted>,
    /// The last time that an endpoint was called by a process; CLOCK_MONOTONIC.
    last_ns: Table<u64>,
    expired: u64,
}

/// First calls, by second of the minute. They only grow, so that rates can be taken: in 16 bits, a busy second would be
/// full within hours.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// How many fell in each second.
    pub seconds: [u32; SECONDS],
}

/// What is counted of one endpoint of a game.
#[derive(Debug, Default)]
struct Counted {
    phase: Phase,
    /// The last call; CLOCK_MONOTONIC.
    last_ns: u64,
}

impl Phases {
    /// Memory that they take when they are full.
    pub const FULL_BYTES: usize = PHASES * Table::<Counted>::ENTRY_BYTES + SCOPES * Table::<u64>::ENTRY_BYTES;

    /// None yet; `share` is the part of [`Phases::FULL_BYTES`] that they may take.
    pub fn new(share: Budget) -> Self {
        Phases {
            phases: Table::new(share.entries(PHASES)),
            last_ns: Table::new(share.entries(SCOPES)),
            expired: 0,
        }
    }

    /// Takes a call. `realtime_offset_ns` is CLOCK_REALTIME less CLOCK_MONOTONIC.
    pub fn observe(&mut self, call: &Observation, realtime_offset_ns: i64) {
        let Some(time_ns) = call.started_ns.checked_add_signed(realtime_offset_ns) else { return };
        let second = time_ns / SECOND_NS % SECONDS as u64;
        let Phases { phases, last_ns, .. } = self;
        let last_ns = last_ns.of(call.scope, || {
            // How long it was quiet before the first call that is seen is not known, so that one does not count; but its
            // endpoint stands at zero from now on, so that the next one is an increase.
            phases.of(call.endpoint, Counted::default);
            call.started_ns
        });
        // Late calls may be older than the last.
        let quiet_ns = call.started_ns.saturating_sub(*last_ns);
        *last_ns = call.started_ns.max(*last_ns);
        if quiet_ns < QUIET_NS {
            return;
        }
        let counted = phases.of(call.endpoint, Counted::default);
        counted.last_ns = counted.last_ns.max(call.started_ns);
        if let Some(calls) = counted.phase.seconds.get_mut(second as usize) {
            *calls = calls.saturating_add(1);
        }
    }

    /// Forgets endpoints that no process has begun to call for `idle_ns` and that are not called any more either, as far
    /// as `is_called` knows; and when endpoints that are idle so long were called last.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64, is_called: impl Fn(u64) -> bool) {
        let before = self.phases.len();
        let is_idle = |last_ns: u64| now_ns.saturating_sub(last_ns) >= idle_ns;
        self.phases.retain(|endpoint, counted| !is_idle(counted.last_ns) || is_called(endpoint));
        self.last_ns.retain(|_, &last_ns| !is_idle(last_ns));
        self.expired += (before - self.phases.len()) as u64;
    }

    /// Endpoints that were forgotten since they were idle.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Each endpoint of a game that is counted, as in [`Observation::endpoint`].
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Phase)> {
        self.phases.iter().map(|(endpoint, counted)| (endpoint, &counted.phase))
    }

    /// What they hold in memory. Of what made room no first call is known until it has been seen twice again.
    pub fn state(&self) -> State {
        let Phases { phases, last_ns, .. } = self;
        State::of([(phases.len(), phases.evicted()), (last_ns.len(), last_ns.evicted())])
    }
}

impl Default for Phase {
    fn default() -> Self {
        Phase { seconds: [0; SECONDS] }
    }
}

impl Phase {
    /// All of them.
    pub fn first_calls(&self) -> u64 {
        self.seconds.iter().map(|&calls| u64::from(calls)).sum()
    }

    /// The sum of their directions on the circle of a minute, along four axes: the parts of it towards the seconds 0, 15, 30
    /// and 45. Each only grows and can be added, so five counters with [`Phase::first_calls`] say what sixty would: with
    /// rates of them the mean resultant length is `√((a₀ - a₃₀)² + (a₁₅ - a₄₅)²) / first_calls`.
    pub fn axes(&self) -> [f64; 4] {
        let mut axes = [0.0; 4];
        for (second, &calls) in self.seconds.iter().enumerate() {
            let angle = std::f64::consts::TAU * second as f64 / SECONDS as f64;
            let (sine, cosine) = angle.sin_cos();
            for (axis, part) in axes.iter_mut().zip([cosine, sine, -cosine, -sine]) {
                *axis += f64::from(calls) * part.max(0.0);
            }
        }
        axes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::get;

    /// Calls as (process, milliseconds of the test), which begins at 12 s of a minute.
    fn phase(calls: impl IntoIterator<Item = (u32, u64)>) -> Phase {
        let mut phases = Phases::new(Budget { share: 1.0 });
        let epoch_ns = get("/").observation().started_ns as i64;
        for (pid, at_ms) in calls {
            let call = get("/v1/top").pid(pid).at_ms(at_ms).observation();
            phases.observe(&call, 1_000 * 60_000_000_000 + 12_000_000_000 - epoch_ns);
        }
        let (_, phase) = phases.iter().next().expect("one endpoint");
        *phase
    }

    fn resultant(phase: &Phase) -> f64 {
        let [north, east, south, west] = phase.axes();
        (north - south).hypot(east - west) / phase.first_calls() as f64
    }

    fn seconds(phase: &Phase) -> Vec<(usize, u32)> {
        phase.seconds.iter().copied().enumerate().filter(|&(_, calls)| calls > 0).collect()
    }

    #[test]
    fn servers_that_refresh_at_the_full_minute_are_a_herd() {
        // 40 servers, five minutes.
        let herd = phase((0..5).flat_map(|minute| (0..40).map(move |pid| (pid, 48_000 + minute * 60_000))));
        assert_eq!(seconds(&herd), [(0, 160)]);
        assert!((resultant(&herd) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn servers_that_refresh_when_they_like_are_none() {
        let calls = (0..5).flat_map(|minute| (0..60).map(move |n| (n as u32, n * 1000 + minute * 60_000)));
        let spread = phase(calls);
        assert_eq!(spread.first_calls(), 240);
        assert!(resultant(&spread) < 1e-9);
    }

    #[test]
    fn only_calls_after_a_quiet_time_count() {
        // The first of a process follows on nobody knows what; the one at 47 s comes late.
        let calls = [(1, 0), (1, 44_999), (1, 90_000), (1, 47_000), (1, 134_999), (2, 80_000), (1, 180_000)];
        assert_eq!(seconds(&phase(calls)), [(12, 1), (42, 1)]);
    }

    #[test]
    fn whoever_calls_all_the_time_does_not_begin_at_the_full_minute() {
        let polls = (0..40).flat_map(|pid| (0..150).map(move |n| (pid, u64::from(pid) * 100 + n * 4_000)));
        let once_more = (0..40).map(|pid| (pid, 700_000 + u64::from(pid) * 1500));
        let phase = phase(polls.chain(once_more));
        assert_eq!(phase.first_calls(), 40);
        assert!(resultant(&phase) < 0.1);
    }

    #[test]
    fn what_is_idle_is_forgotten() {
        let mut phases = Phases::new(Budget { share: 1.0 });
        let call = |path: &str, at_ms| get(path).at_ms(at_ms).observation();
        for (path, at_ms) in
            [("/v1/a", 0), ("/v1/b", 0), ("/v1/a", 60_000), ("/v1/b", 60_000), ("/v1/b", 90_000)]
        {
            phases.observe(&call(path, at_ms), 0);
        }
        let expire = |phases: &mut Phases, after_ms: u64, called: &[&str]| {
            let called: Vec<u64> = called.iter().map(|path| call(path, 0).endpoint).collect();
            let now_ns = call("/", 60_000 + after_ms).started_ns;
            phases.expire(now_ns, 3_600 * SECOND_NS, |endpoint| called.contains(&endpoint));
            (phases.state().entries, phases.expired())
        };
        assert_eq!(expire(&mut phases, 3_599_000, &[]), (4, 0));
        // One of them has gone on being called.
        assert_eq!(expire(&mut phases, 3_600_000, &["/v1/b"]), (2, 1));
        assert_eq!(expire(&mut phases, 3_630_000, &[]), (0, 2));
    }

    #[test]
    fn what_makes_room_is_counted() {
        let mut phases = Phases::new(Budget { share: 0.0 });
        for n in 0..20 {
            let call = |at_ms| get(&format!("/v1/a{n}/x")).at_ms(at_ms).observation();
            phases.observe(&call(0), 0);
            phases.observe(&call(60_000), 0);
        }
        assert_eq!(phases.iter().count(), 16);
        assert_eq!(phases.state(), State { entries: 32, evicted: 8 });
        // Before 1970 nothing is known.
        phases.observe(&get("/v1/b").observation(), i64::MIN);
        assert_eq!(phases.state().evicted, 8);
    }
}
