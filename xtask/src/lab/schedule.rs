//! Given: a world. Gives: all its calls in the order in which they begin, a slice of time at once, with their connections;
//! and what is true of them. Refuses to know: who plays them.
//!
//! Instances are placed before anything is called: each row of the table has a stream of its own for its places, and goes
//! on to the next game where another instance calls the same operation already. So a row that is added at the end shifts
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use rotrace::detect::ConnectionEnd;

use super::api::Api;
use super::plan::{BACKGROUND, Conn, Episode, Intensity, Keep, Planned, SECOND};
use super::random::Random;
use super::scenarios::{Kind, Row, background, rows};
use super::scene::{Scene, Tempo};
use super::world::{Profile, World};

/// Calls are made so much time at once.
pub(crate) const SLICE_NS: u64 = 10 * SECOND;

/// Nothing injected begins before this.
const QUIET_NS: u64 = 60 * SECOND;

/// The longest instance: what is placed later than this before the end would be cut off.
pub(crate) const INSTANCE_NS: u64 = 600 * SECOND;

/// In a hurry, the background goes on for so long behind everything that was injected: whether a process lives on decides what
/// its last calls were.
const AFTER_NS: u64 = 8 * SECOND;

/// Instances of each row; in a hurry there is one of each.
const SCENARIO_TURNS: usize = 3;
const BENIGN_TURNS: usize = 2;

/// A connection that nobody has used for so long is closed.
const IDLE_CLIENT_NS: u64 = 90 * SECOND;
const IDLE_SERVER_NS: u64 = 5 * SECOND;

/// Names under the seed.
const PLACES: u64 = 4;
const INSTANCES: u64 = 5;

/// What a plan is made of.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    /// How long everything goes on.
    pub(crate) length_s: u64,
    pub(crate) tempo: Tempo,
    pub(crate) intensity: Intensity,
    /// Names of the rows that take part; all when empty.
    pub(crate) only: Vec<String>,
}

/// A scenario or look-alike with its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance {
    pub(crate) name: &'static str,
    pub(crate) cause: u32,
    pub(crate) process: u32,
    pub(crate) begin_ns: u64,
    pub(crate) is_benign: bool,
    row: u64,
    turn: usize,
}

/// The calls of a world, one slice of time after the other.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) world: World,
    tempo: Tempo,
    intensity: Intensity,
    pub(crate) instances: Vec<Instance>,
    /// What is true of the instances that have begun.
    pub(crate) episodes: Vec<Episode>,
    now_ns: u64,
    /// Until when servers do what they do anyhow.
    background_until_ns: u64,
    /// Calls that begin later.
    later: Vec<Planned>,
    connections: Connections,
}

/// What happens in a slice of time.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// In the order in which they begin.
    pub(crate) calls: Vec<Planned>,
    /// Connections that end, the times being those of the plan.
    pub(crate) ends: Vec<ConnectionEnd>,
    /// Where it ends.
    pub(crate) until_ns: u64,
}

impl Schedule {
    pub(crate) fn new(settings: &Settings) -> Self {
        let Settings { seed, profile, length_s, tempo, intensity, ref only } = *settings;
        let world = World::new(seed, profile, length_s * SECOND);
        let instances =
            place(&world, tempo, |row| only.is_empty() || only.iter().any(|name| name == row.name));
        Schedule {
            background_until_ns: world.length_ns,
            world,
            tempo,
            intensity,
            instances,
            episodes: Vec::new(),
            now_ns: 0,
            later: Vec::new(),
            connections: Connections::default(),
        }
    }

    fn instance(&self, index: usize) -> Option<(Vec<Planned>, Vec<Episode>)> {
        let Instance { name, cause, process, begin_ns, row, turn, .. } = *self.instances.get(index)?;
        let play = rows().find(|&(number, _)| number == row).map(|(_, row)| row.play)?;
        let random = Random::of(self.world.seed, &[INSTANCES, row, turn as u64]);
        let place = (process, begin_ns);
        let mut scene = Scene::new(&self.world, (name, cause, turn), place, self.intensity, random);
        scene.tempo = self.tempo;
        play(&mut scene);
        Some((scene.calls, scene.episodes))
    }

    fn background(&self, until_ns: u64) -> Vec<Planned> {
        let mut calls = Vec::new();
        for process in 0..self.world.processes().len() as u32 {
            let place = (process, self.now_ns);
            let none = Random::of(0, &[]);
            let mut scene = Scene::new(&self.world, ("", BACKGROUND, 0), place, self.intensity, none);
            background(&mut scene, self.now_ns..until_ns);
            calls.append(&mut scene.calls);
        }
        calls
    }
}

impl Iterator for Schedule {
    type Item = Slice;

    fn next(&mut self) -> Option<Slice> {
        if self.now_ns >= self.background_until_ns && self.later.is_empty() {
            return None;
        }
        let until_ns = self.now_ns + SLICE_NS;
        let mut due = std::mem::take(&mut self.later);
        if self.now_ns < self.background_until_ns {
            due.append(&mut self.background(until_ns));
        }
        for index in 0..self.instances.len() {
            if (self.now_ns..until_ns).contains(&self.instances[index].begin_ns)
                && let Some((mut calls, mut episodes)) = self.instance(index)
            {
                due.append(&mut calls);
                self.episodes.append(&mut episodes);
            }
        }
        if let Tempo::Hurried(_) = self.tempo {
            let injected = due.iter().filter(|call| call.cause != BACKGROUND);
            let last_ns = injected.map(Planned::end_ns).max().unwrap_or(0);
            self.background_until_ns = self.background_until_ns.max(last_ns + AFTER_NS);
        }
        (due, self.later) = due.into_iter().partition(|call| call.start_ns < until_ns);
        due.sort_by_key(|call| (call.start_ns, call.cause, call.process, call.task));
        let mut slice = Slice { calls: due, ends: Vec::new(), until_ns };
        self.connections.give(&mut slice);
        self.now_ns = until_ns;
        Some(slice)
    }
}

/// Where and when each instance takes place.
fn place(world: &World, tempo: Tempo, takes_part: impl Fn(&Row) -> bool) -> Vec<Instance> {
    let processes = world.processes().len() as u64;
    let (quiet_ns, instance_ns) = (tempo.apart(QUIET_NS), tempo.apart(INSTANCE_NS));
    let last_ns = world.length_ns.saturating_sub(instance_ns).max(quiet_ns + SECOND);
    let turns = |is_benign: bool| match tempo {
        Tempo::Real if is_benign => BENIGN_TURNS,
        Tempo::Real => SCENARIO_TURNS,
        Tempo::Hurried(_) => 1,
    };
    let mut taken: BTreeSet<(usize, Api)> = BTreeSet::new();
    let mut instances = Vec::new();
    for (number, row) in rows() {
        let is_benign = row.kind == Kind::Benign;
        // A row that takes no part keeps its place, so that no other is shifted; in a hurry there are too few places.
        if matches!(tempo, Tempo::Hurried(_)) && !takes_part(row) {
            continue;
        }
        for turn in 0..turns(is_benign) {
            let mut random = Random::of(world.seed, &[PLACES, number, turn as u64]);
            let first = random.below(0..processes);
            let begin_ns = random.below(quiet_ns..last_ns);
            let game = |process: u32| world.process(process).game;
            let free = (0..processes)
                .map(|step| ((first + step) % processes) as u32)
                .find(|&process| row.apis.iter().all(|&api| !taken.contains(&(game(process), api))));
            let Some(process) = free else { continue };
            taken.extend(row.apis.iter().map(|&api| (game(process), api)));
            if takes_part(row) {
                let cause = (number as u32 + 1) * 10 + turn as u32;
                let name = row.name;
                instances.push(Instance { name, cause, process, begin_ns, is_benign, row: number, turn });
            }
        }
    }
    instances
}

/// Keep-alive connections of HTTP/1.1: one request at a time, the one used last is used first.
#[derive(Debug, Default)]
struct Connections {
    open: BTreeMap<(u32, &'static str), Vec<Open>>,
    opened: u64,
}

#[derive(Debug)]
struct Open {
    conn: Conn,
    free_ns: u64,
    keep: Keep,
}

impl Open {
    /// When it will have been closed, and whether by the client.
    fn end(&self) -> (u64, bool) {
        match self.keep {
            Keep::Alive => (self.free_ns + IDLE_CLIENT_NS, true),
            Keep::ClosedByClient => (self.free_ns, true),
            Keep::ClosedByServer => (self.free_ns + IDLE_SERVER_NS, false),
        }
    }
}

impl Connections {
    /// Gives each call a connection, and says which have ended.
    fn give(&mut self, slice: &mut Slice) {
        let Slice { calls, ends, until_ns } = slice;
        for call in calls.iter_mut() {
            let pool = self.open.entry((call.process, call.api.authority())).or_default();
            let usable = pool
                .iter()
                .enumerate()
                .filter(|(_, open)| open.free_ns <= call.start_ns && open.end().0 > call.start_ns);
            let latest =
                usable.max_by_key(|(_, open)| (open.free_ns, open.conn.number)).map(|(index, _)| index);
            let index = latest.unwrap_or_else(|| {
                self.opened += 1;
                let conn = Conn { number: self.opened, ordinal: 0 };
                pool.push(Open { conn, free_ns: 0, keep: Keep::Alive });
                pool.len() - 1
            });
            let Some(open) = pool.get_mut(index) else { continue };
            call.conn = open.conn;
            open.conn.ordinal += 1;
            open.free_ns = call.end_ns();
            // Nobody can go on behind a response that was given up.
            open.keep = if call.is_aborted() { Keep::ClosedByClient } else { call.ask.keep };
        }
        for pool in self.open.values_mut() {
            pool.retain(|open| {
                let (at_ns, by_client) = open.end();
                let is_over = at_ns < *until_ns;
                if is_over {
                    ends.push(ConnectionEnd { conn: open.conn.number, at_ns, by_client: Some(by_client) });
                }
                !is_over
            });
        }
        ends.sort_by_key(|end| (end.at_ns, end.conn));
    }
}

#[cfg(test)]
mod tests {
    use rotrace::detect::Pattern;

    use super::*;
    use crate::lab::scenarios::BRISK;

    fn settings(only: &[&str]) -> Settings {
        let only = only.iter().map(|&name| name.to_owned()).collect();
        Settings {
            seed: 3,
            profile: Profile::Small,
            length_s: 720,
            tempo: Tempo::Real,
            intensity: Intensity::Clear,
            only,
        }
    }

    fn lines(only: &[&str]) -> Vec<(u32, String)> {
        let mut schedule = Schedule::new(&settings(only));
        let mut lines = Vec::new();
        while let Some(slice) = schedule.next() {
            let calls = slice.calls.iter();
            lines.extend(calls.map(|call| {
                // Connections are shared by all of a process.
                let call = Planned { conn: Conn::default(), ..call.clone() };
                (call.cause, call.json(&schedule.world).to_string())
            }));
        }
        lines
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_scenario_shifts_nothing() {
        let one = lines(&["S1"]);
        assert_eq!(one, lines(&["S1"]));
        let two = lines(&["S1", "S8"]);
        let without: Vec<_> = {
            let causes: BTreeSet<u32> = one.iter().map(|(cause, _)| *cause).collect();
            two.into_iter().filter(|(cause, _)| causes.contains(cause)).collect()
        };
        assert_eq!(one, without);
        assert!(one.iter().any(|(cause, _)| *cause != BACKGROUND));
    }

    #[test]
    fn calls_begin_in_order_and_a_connection_has_one_at_a_time() {
        let mut free_ns: BTreeMap<u64, u64> = BTreeMap::new();
        let mut now_ns = 0;
        for slice in Schedule::new(&settings(&[])) {
            for call in &slice.calls {
                assert!(call.start_ns >= now_ns);
                now_ns = call.start_ns;
                let free = free_ns.insert(call.conn.number, call.end_ns()).unwrap_or(0);
                assert!(free <= call.start_ns, "two at a time on {}", call.conn.number);
            }
        }
        assert!(free_ns.len() > 10);
    }

    #[test]
    fn what_is_hurried_is_over_in_time_and_the_background_goes_on_behind_it() {
        let tempo = Tempo::within(48 * SECOND, INSTANCE_NS);
        let only = BRISK.iter().filter(|(_, least_s)| *least_s <= 60).map(|&(name, _)| name);
        let settings =
            Settings { profile: Profile::Few, length_s: 60, tempo, ..settings(&only.collect::<Vec<_>>()) };
        let mut schedule = Schedule::new(&settings);
        let calls: Vec<Planned> = schedule.by_ref().flat_map(|slice| slice.calls).collect();
        let last_ns = |is_background: bool| {
            let own = calls.iter().filter(|call| (call.cause == BACKGROUND) == is_background);
            own.map(|call| call.start_ns).max().expect("calls")
        };
        assert!(last_ns(false) < 75 * SECOND, "{} s", last_ns(false) / SECOND);
        assert!(last_ns(true) > last_ns(false) + AFTER_NS / 2);
        // Each has found a place.
        let placed: BTreeSet<&str> = schedule.instances.iter().map(|instance| instance.name).collect();
        let missing: Vec<_> = settings.only.iter().filter(|name| !placed.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn closed_forms_are_the_number_of_marked_calls() {
        for intensity in Intensity::ALL {
            let settings = Settings { intensity, profile: Profile::Usual, length_s: 1_200, ..settings(&[]) };
            let schedule = Schedule::new(&settings);
            for index in 0..schedule.instances.len() {
                let (calls, episodes) = schedule.instance(index).expect("an instance");
                for episode in episodes.iter().filter(|episode| episode.wasted_calls > 0.0) {
                    // The hops of a redirect are calls of several operations.
                    let is_chain = episode.pattern == Pattern::RedirectChain;
                    let is_marked = |call: &&Planned| {
                        call.wasted == Some(episode.pattern) && (is_chain || call.api == episode.api)
                    };
                    let marked = calls.iter().filter(is_marked).count() as f64;
                    let Episode { scenario, wasted_calls, .. } = *episode;
                    // In closed form a fan-out keeps one call of each batch over all its bursts together.
                    let off = (marked - wasted_calls).abs();
                    assert!(
                        off <= 1.0 + 0.05 * wasted_calls,
                        "{scenario}: {marked} marked of {wasted_calls}"
                    );
                }
            }
        }
    }
}
