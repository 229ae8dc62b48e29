//! Given: calls. Gives: bursts in which one process reads the same endpoint once for each of many ids. Refuses to know:
//! why it does so; there are no traces to tell.
//!
//! A burst takes the place of a trace: calls of one process and endpoint, of which none begins long after all before it
//! are over. Scripts make such calls at once, in a loop that waits for each, or with a pause in between; the pause that
//! ends a burst follows their own pace.

mod doubt;
mod shape;

use self::doubt::Doubt;
use self::shape::Shape;
use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply, Verb};
use super::pattern::Pattern;
use super::query::{PARTS_MAX, Part, PartKind, Parts};
use super::table::Table;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::NPlusOne,
    thresholds: &[
        Threshold { name: "min_ids", default: 5.0, what: "distinct ids of a burst that is told at all" },
        Threshold {
            name: "warn_ids",
            default: 10.0,
            what: "distinct ids of a burst that counts towards a warning",
        },
        Threshold {
            name: "warn_bursts",
            default: 3.0,
            what: "such bursts in ten minutes from which it is a warning",
        },
        Threshold {
            name: "warn_ids_once",
            default: 30.0,
            what: "distinct ids of a single burst that is a warning",
        },
        Threshold { name: "warn_ids_paced", default: 20.0, what: "distinct ids in a minute at an even pace" },
    ],
    full_bytes: TRACKS * (Table::<Track>::ENTRY_BYTES + IDS_MAX * size_of::<u32>())
        + PENDING_ALL * size_of::<u64>(),
    make: |values, budget| Box::new(NPlusOne::new(values, budget)),
};

/// Endpoints of processes whose bursts are followed.
const TRACKS: usize = 6 * 1024;

const SECOND_NS: u64 = 1_000_000_000;

/// The pause that ends a burst: three times the usual distance of two calls, within these.
const GAP_NS: std::ops::RangeInclusive<u64> = 100_000_000..=2 * SECOND_NS;

/// The same before there is anything usual.
const FIRST_GAP_NS: u64 = 250_000_000;

/// A burst that goes on is looked at anew after so long, or so many calls.
const BURST_NS: u64 = 10 * SECOND_NS;
const BURST_CALLS: u32 = 4096;

/// The pause between two calls of a script that only waits for the answer.
const STEP_NS: u64 = 20_000_000;

/// How long bursts are remembered.
const RECURRENCE_NS: u64 = 600 * SECOND_NS;

/// Ids that are told apart exactly.
const IDS_MAX: usize = 64;

/// Calls that wait for the burst to be one, and are then claimed.
const PENDING_MAX: usize = 256;

/// Calls of all bursts that wait at one time.
const PENDING_ALL: usize = 64 * 1024;

/// Ids of one batch when the catalogue does not say.
const BATCH_MAX: u32 = 50;

#[derive(Debug)]
struct NPlusOne {
    min_ids: u64,
    warn_ids: u64,
    warn_bursts: usize,
    warn_ids_once: u64,
    warn_ids_paced: u64,
    tracks: Table<Track>,
    /// So many more calls may wait, at least.
    room: usize,
}

/// What is remembered of one endpoint in one process.
#[derive(Debug, Default)]
struct Track {
    burst: Option<Burst>,
    /// Distances of the last starts, in milliseconds.
    paces_ms: [u32; 8],
    paces: u32,
    /// Ends and numbers of ids of the last bursts.
    recent: [(u64, u32); 8],
    recurrences: u32,
    /// The last burst was cut off while it went on: its time and number of ids.
    carried: Option<(u64, u64)>,
    /// The memory of the ids of the last burst: most calls are alone, and would take and give it back each time.
    spare_ids: Vec<u32>,
    /// Calls of bursts that are not claimed yet.
    pending: Vec<u64>,
    is_claimed: bool,
    doubt: Doubt,
    /// What is claimed of a call.
    amount: Amount,
    class: Class,
}

/// A number of each part of a request.
#[derive(Debug)]
struct Marks {
    marks: [u32; PARTS_MAX],
    length: usize,
}

/// Calls that belong together.
#[derive(Debug)]
struct Burst {
    /// The parts of the first call.
    first: Marks,
    started_ns: u64,
    last_started_ns: u64,
    ended_ns: u64,
    calls: u32,
    ids: Vec<u32>,
    /// Ids beyond those that are told apart: all of them are taken to be distinct.
    more_ids: u64,
    /// Which parts have differed from those of the first call.
    varying: u16,
    /// Ends of the last calls, to see how many go on at one time.
    ends_ns: [u64; 8],
    max_overlap: u32,
    /// Pauses before the last calls, in milliseconds.
    idles_ms: [u32; 8],
    /// Calls that followed on another, or were made beside it, without a pause.
    brisk: u32,
    /// Calls that waited before its first one.
    pending_from: usize,
    /// Ids from which the finding is told anew: evidence for each call would cost more than all the rest.
    next_told: u64,
}

impl NPlusOne {
    fn new(values: &Values, budget: Budget) -> Self {
        NPlusOne {
            min_ids: values.count("min_ids"),
            warn_ids: values.count("warn_ids"),
            warn_bursts: values.count("warn_bursts") as usize,
            warn_ids_once: values.count("warn_ids_once"),
            warn_ids_paced: values.count("warn_ids_paced"),
            tracks: Table::new(budget.entries(TRACKS)),
            room: PENDING_ALL,
        }
    }
}

impl Detector for NPlusOne {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        let is_answered = call.reply == Reply::Success || call.status == 404;
        if call.verb != Verb::Read || !is_answered || call.parts.iter().next().is_none() {
            return;
        }
        // The next page is another detector's.
        if call.parts.first(PartKind::Paging).is_some() {
            return;
        }
        let track = self.tracks.of(call.scope, Track::default);
        let batch = desk.subject(call).and_then(|subject| subject.api.batch.as_ref());
        let batch = batch.map_or(BATCH_MAX, |batch| batch.max).max(2);
        let begins = track.take(call, batch, (self.min_ids, self.warn_ids), &mut self.room);
        if begins && track.is_claimed {
            track.doubt.tell(CaseId::of(Pattern::NPlusOne, call), call.started_ns, desk);
        }
        let Some(burst) = &track.burst else { return };
        let ids = burst.ids();
        if burst.varying.count_ones() != 1 || ids < self.min_ids {
            return;
        }
        let is_script = burst.shape() != Shape::Uneven;
        if ids >= burst.next_told || is_script && !track.is_claimed && ids >= self.warn_ids {
            self.tell(call, desk);
        } else if track.is_claimed && is_script {
            track.claim(CaseId::of(Pattern::NPlusOne, call), desk);
        }
    }

    fn tick(&mut self, _: u64, _: &mut Desk) {
        // As long as there is plenty, it makes no difference how much.
        if self.room >= PENDING_ALL / 2 {
            return;
        }
        let held: usize = self.tracks.iter().map(|(_, track)| track.pending.capacity()).sum();
        self.room = PENDING_ALL.saturating_sub(held);
    }

    fn state(&self) -> State {
        State::of([(self.tracks.len(), self.tracks.evicted())])
    }
}

impl NPlusOne {
    /// The burst that the call belongs to is one, and has grown since it was told.
    fn tell(&mut self, call: &Observation, desk: &mut Desk) {
        let Some(track) = self.tracks.find(call.scope) else { return };
        // A case that is over takes what it has claimed with it.
        track.is_claimed &= desk.open_case(CaseId::of(Pattern::NPlusOne, call)).is_some();
        let Some(burst) = &track.burst else { return };
        let (ids, shape) = (burst.ids(), burst.shape());
        let paced_ids = ids + track.carried.filter(|_| shape == Shape::Paced).map_or(0, |(_, ids)| ids);
        let large = track.bursts_since(call.started_ns.saturating_sub(RECURRENCE_NS), self.warn_ids)
            + usize::from(ids >= self.warn_ids && shape != Shape::Uneven);
        // What comes as players come is no script that could ask once.
        let is_warning = shape != Shape::Uneven
            && (ids >= self.warn_ids_once
                || large >= self.warn_bursts
                || shape == Shape::Paced && paced_ids >= self.warn_ids_paced);
        let api = desk.api(call);
        let (heads, server, slow) = desk.subject(call).map_or((0, 0, 0), |subject| {
            (subject.heads.quantile(0.5), subject.server.quantile(0.1), subject.server.quantile(0.9))
        });
        // Players who come and go while a script does its work are no part of it.
        if shape == Shape::Uneven && track.is_claimed {
            return;
        }
        let id = CaseId::of(Pattern::NPlusOne, call);
        let case = desk.case(id, call, burst.started_ns, 2 * RECURRENCE_NS);
        if large == 1 && ids >= self.warn_ids && shape != Shape::Uneven && !track.is_claimed {
            // So far the case was about bursts that are too small or too uneven for a script.
            (case.finding.started_ns, case.finding.calls) = (burst.started_ns, 0);
        }
        case.finding.kind = shape.name();
        case.finding.calls = case.finding.calls.max(u64::from(burst.calls));
        case.finding.confidence =
            if api.batch.is_some() { Confidence::Strong } else { Confidence::Heuristic };
        case.count(Sample::of(call, combine(call.resource, call.parts.query)));
        let evidence = &mut case.finding.evidence;
        evidence.set("ids", Fact::Count(ids));
        evidence.set("bursts_10min", Fact::Count(large as u64));
        evidence.set("max_overlap", Fact::Count(burst.max_overlap.into()));
        evidence.set("span", Fact::Ns(burst.ended_ns - burst.started_ns));
        evidence.say("varies", &burst.what_varies(call));
        if let Some(batch) = &api.batch {
            evidence.say("batch_endpoint", &batch.endpoint);
            evidence.set("batch_max", Fact::Count(batch.max.into()));
        }
        let span_ns = burst.ended_ns - burst.started_ns;
        if shape != Shape::Concurrent {
            case.finding.latency_ns = case.finding.latency_ns.max(span_ns.saturating_sub(slow));
        }
        case.finding.remedy = match &api.batch {
            Some(batch) => format!(
                "Collect the ids and ask {} once for up to {} of them; keep the answer for the session.",
                batch.endpoint, batch.max
            ),
            None => "Collect the ids and ask once for all of them, if the service has an endpoint that takes many; \
                     keep the answers for the session."
                .to_owned(),
        };
        if let Some(burst) = &mut track.burst {
            burst.next_told = ids + ids.div_ceil(2);
        }
        if !is_warning && !track.is_claimed || shape == Shape::Uneven {
            return;
        }
        case.allow(Grade::Scored);
        track.is_claimed = true;
        track.class = if api.batch.is_some() { Class::Avoidable } else { Class::Potential };
        let spared = api.batch.as_ref().map_or(0, |batch| batch.cost_ucu / u64::from(batch.max.max(1)));
        track.amount = Amount {
            calls: 1,
            bytes: heads,
            server_ns: server,
            cost_ucu: call.cost_ucu.saturating_sub(spared),
        };
        track.claim(id, desk);
    }
}

impl Track {
    /// Claims the calls that wait.
    fn claim(&mut self, id: CaseId, desk: &mut Desk) {
        let Track { burst, pending, amount, class, .. } = self;
        if let Some(burst) = burst {
            burst.pending_from = 0;
        }
        std::mem::take(pending).into_iter().for_each(|seq| desk.claim(id, seq, *amount, *class));
    }

    /// Puts a call in the burst that goes on, or begins a new one, and says which.
    fn take(
        &mut self,
        call: &Observation,
        batch: u32,
        (min_ids, warn_ids): (u64, u64),
        room: &mut usize,
    ) -> bool {
        if let Some(burst) = &self.burst {
            let distance_ms = call.started_ns.saturating_sub(burst.last_started_ns) / 1_000_000;
            let pause_ns = call.started_ns.saturating_sub(burst.ended_ns);
            // Most pauses are shorter or longer than a gap ever is.
            let ended = pause_ns > *GAP_NS.start() && (pause_ns > *GAP_NS.end() || pause_ns > self.gap_ns());
            let cut =
                burst.calls >= BURST_CALLS || call.started_ns.saturating_sub(burst.started_ns) > BURST_NS;
            // The distance of two bursts says nothing of the pace within one, unless there is no pace yet.
            if !ended || distance_ms <= GAP_NS.end() / 1_000_000 {
                self.paces_ms[self.paces as usize % self.paces_ms.len()] =
                    distance_ms.min(u32::MAX.into()) as u32;
                self.paces = self.paces.wrapping_add(1);
            }
            if ended && self.pace_ms().is_none() && distance_ms <= GAP_NS.end() / 1_000_000 {
                self.doubt.ended_unpaced(burst.calls);
            }
            if ended || cut {
                self.end_burst(ended, min_ids, warn_ids);
            }
        }
        let id = combine(call.resource, call.parts.query);
        let is_first = self.burst.is_none();
        let pending_from = self.pending.len();
        let spare_ids = &mut self.spare_ids;
        let burst =
            self.burst.get_or_insert_with(|| Burst::new(call, pending_from, std::mem::take(spare_ids)));
        let ids = burst.ids();
        burst.take(call, id);
        // Of each batch one call remains.
        let is_kept = is_first || burst.ids() > ids && ids.is_multiple_of(batch.into());
        if !is_kept && self.pending.len() < PENDING_MAX && *room > 0 {
            // Half of what it takes may not be used yet.
            *room = room.saturating_sub(2);
            self.pending.push(call.seq);
        }
        is_first
    }

    fn end_burst(&mut self, is_over: bool, min_ids: u64, warn_ids: u64) {
        let (gap_ns, Some(burst)) = (self.gap_ns(), self.burst.take()) else { return };
        let is_one = burst.varying.count_ones() == 1 && burst.shape() != Shape::Uneven;
        let ids = if is_one { burst.ids() } else { 0 };
        if ids < min_ids {
            self.doubt.apart(burst.started_ns, burst.calls);
        } else {
            let lasted_ns = burst.ended_ns - burst.started_ns + if is_over { gap_ns } else { 0 };
            let is_small = ids < warn_ids && is_over;
            self.doubt.burst(burst.started_ns, lasted_ns, is_small.then_some(burst.calls));
            self.doubt.cuts += u32::from(!is_over);
        }
        self.carried = (!is_over).then(|| (burst.started_ns, ids + self.carried.map_or(0, |(_, ids)| ids)));
        self.spare_ids = burst.ids;
        self.spare_ids.clear();
        if ids >= min_ids {
            // Single calls in between are no bursts, and must not flush those that are.
            self.recent[self.recurrences as usize % self.recent.len()] =
                (burst.ended_ns, ids.min(u32::MAX.into()) as u32);
            self.recurrences = self.recurrences.wrapping_add(1);
        } else {
            self.pending.truncate(burst.pending_from);
            if self.pending.is_empty() {
                self.pending = Vec::new();
            }
        }
    }

    fn gap_ns(&self) -> u64 {
        match self.pace_ms() {
            Some(pace_ms) => (pace_ms * 3_000_000).clamp(*GAP_NS.start(), *GAP_NS.end()),
            None => FIRST_GAP_NS,
        }
    }

    /// The usual distance of two starts: the median of the last.
    fn pace_ms(&self) -> Option<u64> {
        let known = (self.paces as usize).min(self.paces_ms.len());
        if known < 3 {
            return None;
        }
        let mut paces = self.paces_ms;
        let paces = paces.get_mut(..known)?;
        paces.sort_unstable();
        paces.get(known / 2).map(|&pace| u64::from(pace))
    }

    fn bursts_since(&self, since_ns: u64, ids: u64) -> usize {
        self.recent.iter().filter(|&&(ended_ns, of)| ended_ns > since_ns && u64::from(of) >= ids).count()
    }
}

impl Burst {
    fn new(call: &Observation, pending_from: usize, ids: Vec<u32>) -> Self {
        Burst {
            pending_from,
            idles_ms: [0; 8],
            brisk: 0,
            first: Marks::of(&call.parts),
            started_ns: call.started_ns,
            last_started_ns: call.started_ns,
            ended_ns: call.ended_ns,
            calls: 0,
            ids,
            more_ids: 0,
            varying: 0,
            ends_ns: [0; 8],
            max_overlap: 0,
            next_told: 0,
        }
    }

    fn take(&mut self, call: &Observation, id: u64) {
        let overlap = self.ends_ns.iter().filter(|&&end_ns| end_ns > call.started_ns).count() as u32 + 1;
        self.max_overlap = self.max_overlap.max(overlap);
        let at = self.calls as usize % self.ends_ns.len();
        self.ends_ns[at] = call.ended_ns;
        let idle_ns = call.started_ns.saturating_sub(self.ended_ns);
        // The first call follows on nothing.
        if let Some(before) = self.calls.checked_sub(1) {
            let at = before as usize % self.idles_ms.len();
            self.idles_ms[at] = (idle_ns / 1_000_000).min(u32::MAX.into()) as u32;
            self.brisk += u32::from(idle_ns <= STEP_NS);
        }
        self.calls += 1;
        self.last_started_ns = call.started_ns;
        self.ended_ns = self.ended_ns.max(call.ended_ns);
        self.varying |= self.first.differing(&call.parts);
        let id = id as u32;
        if self.ids.len() >= IDS_MAX {
            self.more_ids += u64::from(!self.ids.contains(&id));
        } else if !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }

    fn shape(&self) -> Shape {
        if self.max_overlap >= 3 {
            Shape::Concurrent
        } else if self.brisk * 2 >= self.calls.saturating_sub(1) {
            Shape::Loop
        } else if self.is_paced() {
            Shape::Paced
        } else {
            Shape::Uneven
        }
    }

    /// The last pauses are of a like length.
    fn is_paced(&self) -> bool {
        let mut idles_ms = self.idles_ms;
        let known = (self.calls.saturating_sub(1) as usize).min(idles_ms.len());
        let idles_ms = idles_ms.get_mut(..known).unwrap_or_default();
        idles_ms.sort_unstable();
        let usual_ms = idles_ms.get(known / 2).copied().unwrap_or(0);
        let off_ms: u64 = idles_ms.iter().map(|idle_ms| u64::from(idle_ms.abs_diff(usual_ms))).sum();
        off_ms * 10 <= u64::from(usual_ms) * known as u64 * 3
    }

    fn ids(&self) -> u64 {
        self.ids.len() as u64 + self.more_ids
    }

    fn what_varies(&self, call: &Observation) -> String {
        let place = self.varying.trailing_zeros() as usize;
        match call.parts.iter().nth(place) {
            Some(part) if part.kind == PartKind::Path => format!("path segment {}", part.name),
            Some(_) => format!("query key {}", place + 1),
            None => "nothing".to_owned(),
        }
    }
}

impl Marks {
    fn of(parts: &Parts) -> Self {
        let mut marks = [0; PARTS_MAX];
        marks.iter_mut().zip(parts.iter()).for_each(|(mark, part)| *mark = Marks::of_part(part));
        Marks { marks, length: parts.iter().count() }
    }

    /// The places of parts that differ, a bit for each. What is there to get past a cache does not count.
    fn differing(&self, parts: &Parts) -> u16 {
        let marks = self.marks.iter().take(self.length);
        let places = parts.iter().zip(marks).enumerate();
        places.fold(0, |differing, (place, (part, &mark))| {
            let is_same = part.kind == PartKind::CacheBust || Marks::of_part(part) == mark;
            differing | u16::from(!is_same) << place
        })
    }

    fn of_part(part: &Part) -> u32 {
        combine(combine(part.kind as u64, part.name.into()), part.value.into()) as u32
    }
}

#[cfg(test)]
mod tests;
