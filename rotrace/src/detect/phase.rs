//! Given: calls, and how far the clock of the wall is from theirs. Gives: of each endpoint of a game, the seconds of the
//! minute in which processes make their first call of a minute. Refuses to know: whether that is a herd; one host sees too
//! few of its servers to say.
//!
//! Servers of one game that all refresh at the full minute come together at the service from everywhere. Counts of several
//! hosts can be added: whoever has all of them takes the mean direction of the seconds on a circle, and a herd is where it
//! is long (Rayleigh's test). How well the clocks of hosts agree is not known here.

use super::observation::Observation;
use super::table::Table;

/// Seconds of a minute.
pub const SECONDS: usize = 60;

/// Endpoints of games that are counted; another one takes the place of the longest unused.
const PHASES: usize = 512;

/// Endpoints of processes of which is known whether they were called in this minute.
const SCOPES: usize = 8192;

const SECOND_NS: u64 = 1_000_000_000;

/// First calls of a minute, by endpoint of a game.
#[derive(Debug)]
pub struct Phases {
    phases: Table<Phase>,
    /// The last minute in which an endpoint was called by a process, since 1970.
    minutes: Table<u64>,
}

/// First calls of a minute, by second. They only grow, so that rates can be taken: in 16 bits, a busy second would be full
/// within hours.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// How many fell in each second.
    pub seconds: [u32; SECONDS],
}

impl Phases {
    /// Memory that they take when they are full.
    pub const FULL_BYTES: usize = PHASES * Table::<Phase>::ENTRY_BYTES + SCOPES * Table::<u64>::ENTRY_BYTES;

    /// None yet; `share` is the part of [`Phases::FULL_BYTES`] that they may take.
    pub fn new(share: super::detector::Budget) -> Self {
        Phases { phases: Table::new(share.entries(PHASES)), minutes: Table::new(share.entries(SCOPES)) }
    }

    /// Takes a call. `realtime_offset_ns` is CLOCK_REALTIME less CLOCK_MONOTONIC.
    pub fn observe(&mut self, call: &Observation, realtime_offset_ns: i64) {
        let Some(time_ns) = call.started_ns.checked_add_signed(realtime_offset_ns) else { return };
        let second = time_ns / SECOND_NS;
        let (minute, second) = (second / SECONDS as u64, second % SECONDS as u64);
        let mut is_first = false;
        let last = self.minutes.of(call.scope, || {
            is_first = true;
            minute
        });
        // Late calls may be of a minute that is over.
        is_first |= minute > *last;
        *last = minute.max(*last);
        if !is_first {
            return;
        }
        let phase = self.phases.of(call.endpoint, || Phase { seconds: [0; SECONDS] });
        if let Some(calls) = phase.seconds.get_mut(second as usize) {
            *calls = calls.saturating_add(1);
        }
    }

    /// Each endpoint of a game that is counted, as in [`Observation::endpoint`].
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Phase)> {
        self.phases.iter()
    }

    /// Endpoints of games that made room for others.
    pub fn evicted(&self) -> u64 {
        self.phases.evicted()
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
    use crate::detect::detector::Budget;
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
        assert_eq!(seconds(&herd), [(0, 200)]);
        assert!((resultant(&herd) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn servers_that_refresh_when_they_like_are_none() {
        let calls = (0..5).flat_map(|minute| (0..60).map(move |n| (n as u32, n * 1000 + minute * 60_000)));
        let spread = phase(calls);
        assert_eq!(spread.first_calls(), 300);
        assert!(resultant(&spread) < 1e-9);
    }

    #[test]
    fn only_the_first_call_of_a_minute_counts() {
        let calls = [(1, 0), (1, 5_000), (1, 47_999), (1, 48_000), (2, 48_500), (1, 47_000), (1, 108_000)];
        assert_eq!(seconds(&phase(calls)), [(0, 3), (12, 1)]);
    }

    #[test]
    fn what_makes_room_is_counted() {
        let mut phases = Phases::new(Budget { share: 0.0 });
        for n in 0..20 {
            phases.observe(&get(&format!("/v1/a{n}/x")).observation(), 0);
        }
        assert_eq!((phases.iter().count(), phases.evicted()), (16, 4));
        // Before 1970 nothing is known.
        phases.observe(&get("/v1/b").observation(), i64::MIN);
        assert_eq!(phases.evicted(), 4);
    }
}
