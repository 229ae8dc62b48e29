//! Given: a place in the world and a while. Gives: the words in which a scenario says what is called there, and what of it
//! is wasted. Refuses to know: the scenarios, and what else happens at the same time.

use rotrace::detect::Pattern;
use rotrace::detect::finding::Class;
use rotrace::exchange::signals::RateLimit;
use rotrace::keyed::combine;

use super::api::Api;
use super::plan::{Ask, Conn, Episode, Intensity, MS, Planned, Reply, SECOND};
use super::random::{Random, number_of};
use super::world::World;

/// Seeds from here on draw from wider ranges: they are those that nobody tuned on.
pub(crate) const HELD_OUT_SEEDS: u64 = 1000;

/// How time passes in a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tempo {
    /// As it does in games.
    Real,
    /// Pauses that no detector measures, and what could go on for ever, take such a part of their time. What detectors do
    /// measure takes its own: how far calls of a burst, polls, retries are apart.
    Hurried(f64),
}

impl Tempo {
    /// In which an instance takes so long at most.
    pub(crate) fn within(instance_ns: u64, usual_ns: u64) -> Self {
        Tempo::Hurried((instance_ns as f64 / usual_ns as f64).min(1.0))
    }

    fn factor(self) -> f64 {
        match self {
            Tempo::Real => 1.0,
            Tempo::Hurried(factor) => factor,
        }
    }

    pub(crate) fn apart(self, ns: u64) -> u64 {
        match self {
            Tempo::Real => ns,
            Tempo::Hurried(factor) => (ns as f64 * factor) as u64,
        }
    }
}

/// One instance of a scenario or look-alike, or the background of a server for a while.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) process: u32,
    pub(crate) random: Random,
    pub(crate) intensity: Intensity,
    /// Which of the instances of its row it is.
    pub(crate) turn: usize,
    pub(crate) tempo: Tempo,
    name: &'static str,
    cause: u32,
    /// When it begins.
    pub(crate) begin_ns: u64,
    pub(crate) calls: Vec<Planned>,
    pub(crate) episodes: Vec<Episode>,
    task: u64,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(
        world: &'a World,
        (name, cause, turn): (&'static str, u32, usize),
        (process, begin_ns): (u32, u64),
        intensity: Intensity,
        random: Random,
    ) -> Self {
        let task = combine(u64::from(cause), combine(u64::from(process), begin_ns));
        Scene {
            world,
            process,
            random,
            intensity,
            turn,
            tempo: Tempo::Real,
            name,
            cause,
            begin_ns,
            calls: Vec::new(),
            episodes: Vec::new(),
            task,
        }
    }

    /// One of three, by intensity.
    pub(crate) fn level<T: Copy>(&self, levels: [T; 3]) -> T {
        levels[self.intensity as usize]
    }

    /// A number of the range of its intensity: clear, above, below. The ranges of held-out seeds are twice as wide, away from
    /// the threshold.
    pub(crate) fn draw(&mut self, ranges: [(f64, f64); 3]) -> f64 {
        let (low, high) = self.level(ranges);
        let is_rising = ranges[2].0 < ranges[0].0;
        let (low, high) = match self.world.seed >= HELD_OUT_SEEDS {
            false => (low, high),
            true if is_rising == (self.intensity == Intensity::Below) => {
                ((2.0 * low - high).max(low / 2.0), high)
            }
            true => (low, 2.0 * high - low),
        };
        self.random.between(low, high)
    }

    /// The same as a whole number.
    pub(crate) fn count(&mut self, ranges: [(u32, u32); 3]) -> u64 {
        self.draw(ranges.map(|(low, high)| (f64::from(low), f64::from(high) + 0.999))) as u64
    }

    /// A pause that no detector measures.
    pub(crate) fn apart(&self, ns: u64) -> u64 {
        self.tempo.apart(ns)
    }

    /// How long something goes on, in seconds, that could go on for ever.
    pub(crate) fn lasting(&self, seconds: f64) -> f64 {
        seconds * self.tempo.factor()
    }

    /// An id that no other call has.
    pub(crate) fn id(&mut self) -> u64 {
        self.random.below(1_000_000..4_000_000_000)
    }

    pub(crate) fn universe(&self) -> u64 {
        self.world.game(self.process).universe
    }

    /// What follows is done by another task of a script.
    pub(crate) fn new_task(&mut self) {
        self.task = combine(self.task, 1);
    }

    /// A call with everything as it usually is: the answer to a read is always the same, that to a write never.
    pub(crate) fn call(&mut self, api: Api, parameters: &[&dyn std::fmt::Display], at_ns: u64) -> Planned {
        let target = api.path(parameters);
        self.call_target(api, target, at_ns)
    }

    /// The same with a query.
    pub(crate) fn query(
        &mut self,
        api: Api,
        parameters: &[&dyn std::fmt::Display],
        query: &str,
        at_ns: u64,
    ) -> Planned {
        let target = format!("{}?{query}", api.path(parameters));
        self.call_target(api, target, at_ns)
    }

    fn call_target(&mut self, api: Api, target: String, at_ns: u64) -> Planned {
        let terms = api.terms();
        let is_read = terms.method == "GET";
        let resource = combine(number_of(&target), u64::from(api.0));
        let body = if is_read { resource } else { self.random.next() };
        let jitter = self.random.between(0.95, 1.05);
        Planned {
            start_ns: at_ns,
            process: self.process,
            api,
            target: target.into(),
            ask: Ask {
                body_bytes: terms.sent_bytes,
                body: if terms.sent_bytes > 0 { self.random.next() } else { 0 },
                accepts_coding: true,
                credentials: 1 + self.world.process(self.process).game as u64,
                ..Ask::default()
            },
            reply: Reply {
                status: 200,
                first_byte_ns: (self.random.log_normal(terms.median_ms, 0.25) * MS as f64) as u64,
                // The same bytes have the same length.
                body_bytes: if is_read {
                    terms.body_bytes
                } else {
                    (f64::from(terms.body_bytes) * jitter) as u32
                },
                body,
                brings: None,
                has_etag: false,
                max_age_s: None,
                no_store: false,
                retry_after_s: None,
                rate_limit: None,
                location: None,
                content: terms.content,
                is_coded: terms.body_bytes >= 1_000,
                is_deprecated: false,
            },
            task: self.task,
            cause: self.cause,
            wasted: None,
            conn: Conn::default(),
        }
    }

    /// The call is made. When it is over.
    pub(crate) fn send(&mut self, call: Planned) -> u64 {
        let end_ns = call.end_ns();
        self.calls.push(call);
        end_ns
    }

    /// What it has called of an operation is an episode of a pattern. `is_wasted` says of each call, by its number
    /// among them, whether it need not have been made; the closed form is given by the scenario.
    pub(crate) fn episode(
        &mut self,
        pattern: Pattern,
        api: Api,
        wasted_calls: f64,
        is_wasted: impl Fn(usize, &Planned) -> bool,
    ) -> Option<&mut Episode> {
        let own = self.calls.iter_mut().filter(|call| call.api == api);
        let mut episode: Option<Episode> = None;
        for (index, call) in own.enumerate() {
            if call.wasted.is_none() && is_wasted(index, call) {
                call.wasted = Some(pattern);
            }
            let episode = episode.get_or_insert(Episode {
                scenario: self.name,
                cause: self.cause,
                pattern,
                process: self.process,
                game: self.world.process(self.process).game,
                api,
                start_ns: call.start_ns,
                end_ns: 0,
                calls: 0,
                wasted_calls,
                wasted_bytes: 0.0,
                class: Class::Avoidable,
                is_told_only: false,
                intensity: self.intensity,
            });
            episode.start_ns = episode.start_ns.min(call.start_ns);
            episode.end_ns = episode.end_ns.max(call.end_ns());
            episode.calls += 1;
        }
        self.episodes.push(episode?);
        self.episodes.last_mut()
    }
}

/// A resource that changes every so often has another body then.
pub(crate) fn version(call: &mut Planned, period_ns: u64) {
    let phase = combine(call.reply.body, 1) % period_ns.max(1);
    call.reply.body = combine(call.reply.body, (call.start_ns + phase) / period_ns.max(1));
}

/// A limit, as a server keeps it.
#[derive(Debug)]
pub(crate) enum Limited {
    /// So many calls in each minute of the clock.
    Window { calls: u32, minute: u64, used: u32 },
    /// A bucket that holds so many tokens, and gets so many in a minute; each call takes one.
    Bucket { holds: u32, per_minute: u32, tokens: f64, at_ns: u64 },
}

impl Limited {
    pub(crate) fn window(calls: u32) -> Self {
        Limited::Window { calls, minute: 0, used: 0 }
    }

    pub(crate) fn bucket(holds: u32, per_minute: u32) -> Self {
        Limited::Bucket { holds, per_minute, tokens: holds.into(), at_ns: 0 }
    }

    /// Answers 429 beyond the limit, and says of each call what is left, and when nothing of it will be used.
    pub(crate) fn answer(&mut self, call: &mut Planned) {
        let (is_taken, limit) = self.take(call.start_ns);
        if !is_taken {
            call.reply.status = 429;
            call.reply.body_bytes = 40;
            call.reply.first_byte_ns = 3 * MS;
        }
        call.reply.rate_limit = Some(limit);
    }

    fn take(&mut self, now_ns: u64) -> (bool, RateLimit) {
        match self {
            Limited::Window { calls, minute, used } => {
                let now = now_ns / (60 * SECOND);
                if now != *minute {
                    (*minute, *used) = (now, 0);
                }
                let is_taken = *used < *calls;
                *used += u32::from(is_taken);
                let reset_s = Some((60 - now_ns / SECOND % 60) as u32);
                (is_taken, RateLimit { limit: *calls, remaining: *calls - *used, reset_s })
            }
            Limited::Bucket { holds, per_minute, tokens, at_ns } => {
                let minutes = now_ns.saturating_sub(*at_ns) as f64 / 60e9;
                *tokens = (*tokens + minutes * f64::from(*per_minute)).min((*holds).into());
                *at_ns = now_ns;
                let is_taken = *tokens >= 1.0;
                *tokens -= f64::from(u8::from(is_taken));
                let reset_s = ((f64::from(*holds) - *tokens) * 60.0 / f64::from(*per_minute)).ceil();
                let limit =
                    RateLimit { limit: *holds, remaining: *tokens as u32, reset_s: Some(reset_s as u32) };
                (is_taken, limit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::world::Profile;

    fn scene(world: &World) -> Scene<'_> {
        Scene::new(world, ("S0", 1, 0), (0, 60 * SECOND), Intensity::Above, Random::of(1, &[]))
    }

    #[test]
    fn a_limit_holds_for_a_minute() {
        let world = World::new(1, Profile::Small, 300 * SECOND);
        let mut scene = scene(&world);
        let mut limited = Limited::window(2);
        let mut statuses = Vec::new();
        for at_s in [0, 1, 2, 59, 60] {
            let mut call = scene.call(Api::TICKET, &[], at_s * SECOND);
            limited.answer(&mut call);
            statuses.push((call.reply.status, call.reply.rate_limit.map(|limit| limit.remaining)));
        }
        let told = |status, remaining| (status, Some(remaining));
        assert_eq!(statuses, [told(200, 1), told(200, 0), told(429, 0), told(429, 0), told(200, 1)]);
    }

    #[test]
    fn a_bucket_fills_again_little_by_little() {
        let mut limited = Limited::bucket(2, 60);
        let mut check = |at_s: u64, is_taken: bool, remaining: u32, reset_s: u32| {
            let expect = RateLimit { limit: 2, remaining, reset_s: Some(reset_s) };
            assert_eq!(limited.take(at_s * SECOND), (is_taken, expect), "at {at_s} s");
        };
        check(10, true, 1, 1);
        check(10, true, 0, 2);
        check(10, false, 0, 2);
        check(11, true, 0, 2);
        check(11, false, 0, 2);
        check(100, true, 1, 1);
    }

    #[test]
    fn a_resource_changes_once_in_its_period() {
        let world = World::new(1, Profile::Small, 300 * SECOND);
        let mut scene = scene(&world);
        let bodies: Vec<u64> = (0..120)
            .map(|at_s| {
                let mut call = scene.call(Api::CONFIG, &[&7], at_s * SECOND);
                version(&mut call, 60 * SECOND);
                call.reply.body
            })
            .collect();
        let changes = bodies.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 2);
    }

    #[test]
    fn an_episode_spans_its_calls_and_marks_what_is_wasted() {
        let world = World::new(1, Profile::Small, 300 * SECOND);
        let mut scene = scene(&world);
        for at_s in [10, 11, 12] {
            let call = scene.call(Api::CONFIG, &[&7], at_s * SECOND);
            scene.send(call);
        }
        scene.episode(Pattern::DuplicateRequest, Api::CONFIG, 2.0, |index, _| index > 0);
        let episode = &scene.episodes[0];
        assert_eq!((episode.start_ns, episode.calls), (10 * SECOND, 3));
        assert!(episode.end_ns > 12 * SECOND);
        assert_eq!(scene.calls.iter().filter(|call| call.wasted.is_some()).count(), 2);
    }
}
