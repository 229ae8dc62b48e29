//! Given: a plan. Gives: what the product makes of its calls, and how fast. Refuses to know: what is true of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rotrace::accounts::Accounts;
use rotrace::call::Call;
use rotrace::cost::Prices;
use rotrace::detect::finding::{Amount, Finding, FindingId, Severity};
use rotrace::detect::{Pattern, Snapshot, TABLE, Wasted};
use rotrace::exchange::Exchange;
use rotrace::summary::Summary;

use super::api::prices;
use super::calls::{EPOCH_NS, Event, Harm, Maker, Truth};
use super::comparators;
use super::plan::{BACKGROUND, Episode, Planned, SECOND};
use super::schedule::{Instance, Schedule, Settings};
use super::world::World;

/// Time that goes by behind the last call, so that everything ends.
const AFTER_S: u64 = 1_300;

/// Calls that are made before they are handed over.
const AT_ONCE: usize = 64;

/// How the product is set up and what it gets to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) harm: Harm,
    /// The memory of the detectors is so much smaller.
    pub(crate) budget_div: usize,
    /// Detectors that are turned off.
    pub(crate) without: Vec<Pattern>,
}

/// A finding as it was told last.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) finding: Finding,
    /// When it was told as a warning for the first time.
    pub(crate) warned_ns: Option<u64>,
}

/// What came of a plan.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) world: World,
    pub(crate) instances: Vec<Instance>,
    pub(crate) episodes: Vec<Episode>,
    pub(crate) findings: Vec<Told>,
    /// Waste as the product has counted it.
    pub(crate) wasted: Vec<Wasted>,
    /// All of the calls that are marked as wasted, by the index of their game and by pattern.
    pub(crate) marked: BTreeMap<(usize, Pattern), Amount>,
    pub(crate) calls: u64,
    /// Calls that no scenario has made.
    pub(crate) benign_calls: u64,
    /// How many calls of each truth the ledger has claimed for which pattern; `None` where nobody could tell.
    pub(crate) claims: Option<Claims>,
}

/// By what is true of calls, and by the pattern that has claimed them, if one has.
pub(crate) type Claims = BTreeMap<(Truth, Option<Pattern>), u64>;

/// What came of a plan, and what that took.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) played: Played,
    snapshot: Snapshot,
    dropped: u64,
    /// Processor time of everything behind the decoder.
    spent: Duration,
    /// The part of it that goes by once a second, however few calls there are.
    ticking: Duration,
    /// Memory of the whole process at the end.
    resident_bytes: u64,
}

/// What is true of all planned calls together.
pub(crate) struct Tally {
    /// The truth has prices of its own: what the product takes for a call is what it has remembered.
    prices: Prices,
    /// The causes that waste nothing.
    benign: BTreeSet<u32>,
    pub(crate) marked: BTreeMap<(usize, Pattern), Amount>,
    pub(crate) benign_calls: u64,
}

impl Tally {
    pub(crate) fn new(instances: &[Instance]) -> anyhow::Result<Self> {
        let benign = instances.iter().filter(|instance| instance.is_benign).map(|instance| instance.cause);
        let benign = benign.chain([BACKGROUND]).collect();
        Ok(Tally { prices: prices()?, benign, marked: BTreeMap::new(), benign_calls: 0 })
    }

    /// Adds a planned call, which the maker makes.
    pub(crate) fn add(&mut self, planned: &Planned, maker: &Maker, world: &World) {
        self.benign_calls += u64::from(self.benign.contains(&planned.cause));
        if let Some(pattern) = planned.wasted {
            let game = world.process(planned.process).game;
            let own = self.marked.entry((game, pattern)).or_default();
            *own = own.plus(whole(&maker.call(planned), &mut self.prices));
        }
    }
}

/// Plays a plan. `look` sees every planned call.
pub(crate) fn play(
    settings: &Settings,
    conditions: &Conditions,
    mut look: impl FnMut(&Planned),
) -> anyhow::Result<Measured> {
    let mut schedule = Schedule::new(settings);
    let mut maker = Maker::new(&schedule.world, conditions.harm);
    let mut detect = rotrace::detect::Settings::default();
    detect.budget_bytes /= conditions.budget_div.max(1);
    detect.values.extend(conditions.without.iter().map(|&pattern| (pattern, None)));
    let mut player = Player {
        summary: Summary::default(),
        accounts: Accounts::new(prices()?, &detect),
        told: BTreeMap::new(),
        changes: Vec::new(),
        next_ns: EPOCH_NS,
        calls: 0,
        truths: Vec::new(),
        claims: Claims::new(),
        spent: Duration::ZERO,
        ticking: Duration::ZERO,
    };
    player.accounts.follow_claims();
    let mut tally = Tally::new(&schedule.instances)?;
    while let Some(slice) = schedule.next() {
        for call in &slice.calls {
            tally.add(call, &maker, &schedule.world);
            look(call);
        }
        let events = maker.make(slice);
        player.play(&maker, &events);
    }
    let events = maker.finish();
    player.play(&maker, &events);
    player.finish();
    let Player { accounts, told, calls, spent, ticking, claims, .. } = player;
    let claims = Some(claims);
    let Schedule { world, instances, episodes, .. } = schedule;
    let Tally { marked, benign_calls, .. } = tally;
    let snapshot = accounts.detectors().snapshot();
    let (findings, wasted) = (told.into_values().collect(), snapshot.wasted.clone());
    let played = Played { world, instances, episodes, findings, wasted, marked, calls, benign_calls, claims };
    let resident_bytes = resident_bytes()?;
    Ok(Measured { played, snapshot, dropped: maker.dropped, spent, ticking, resident_bytes })
}

/// Everything that a call takes.
fn whole(call: &Call, prices: &mut Prices) -> Amount {
    let Exchange { started_ns, first_byte_ns, .. } = call.exchange;
    Amount {
        calls: 1,
        bytes: 0,
        server_ns: first_byte_ns.map_or(0, |first_byte_ns| first_byte_ns.saturating_sub(started_ns)),
        cost_ucu: prices.price(call).map_or(0, |cost| cost.0),
    }
}

/// What happens, when, and the call that was made for it.
type Made<'a> = (u64, &'a Event, Option<(Call, Truth)>);

struct Player {
    summary: Summary,
    accounts: Accounts,
    told: BTreeMap<FindingId, Told>,
    /// What was told and when, until nobody measures.
    changes: Vec<(u64, Arc<Finding>)>,
    next_ns: u64,
    calls: u64,
    /// Of calls that nobody has claimed so far, by the number that detectors know them by. Numbers follow on each other, so this
    /// takes little of the memory that is near to the processor: what is measured is the product.
    truths: Vec<Option<Truth>>,
    claims: Claims,
    spent: Duration,
    ticking: Duration,
}

impl Player {
    /// Hands events over as they come, a few at once, so that calls have just been made as a decoder would have made them.
    fn play(&mut self, maker: &Maker, events: &[(u64, Event)]) {
        let mut made = Vec::with_capacity(AT_ONCE);
        for events in events.chunks(AT_ONCE) {
            made.clear();
            made.extend(events.iter().map(|(at_ns, event)| {
                let call = match event {
                    Event::Call(planned) => Some((maker.call(planned), Truth::of(planned))),
                    Event::End(_) => None,
                };
                (*at_ns, event, call)
            }));
            self.measure(&mut made);
            self.tell();
            self.claim();
        }
    }

    /// Only this is measured.
    fn measure(&mut self, events: &mut [Made<'_>]) {
        let mut known = Vec::with_capacity(events.len());
        let before = cpu();
        for (at_ns, event, call) in events {
            if self.next_ns <= *at_ns {
                let before = cpu();
                while self.next_ns <= *at_ns {
                    self.advance();
                }
                self.ticking += cpu() - before;
            }
            if let Some((call, truth)) = call {
                if let Some(seq) = self.accounts.record(call, None) {
                    known.push((seq, *truth));
                }
                self.summary.record(call);
                self.calls += 1;
            } else if let Event::End(end) = event {
                self.accounts.connection_ended(end);
            }
        }
        self.spent += cpu() - before;
        for (seq, truth) in known {
            self.truths.resize(self.truths.len().max(seq as usize), None);
            self.truths.push(Some(truth));
        }
    }

    /// Writes down which calls have been claimed.
    fn claim(&mut self) {
        for (seq, pattern) in self.accounts.take_claims() {
            if let Some(truth) = self.truths.get_mut(seq as usize).and_then(Option::take) {
                *self.claims.entry((truth, Some(pattern))).or_default() += 1;
            }
        }
    }

    fn advance(&mut self) {
        let changes = self.accounts.advance(self.next_ns);
        self.changes.extend(changes.into_iter().map(|finding| (self.next_ns, finding)));
        self.next_ns += SECOND;
    }

    fn finish(&mut self) {
        for _ in 0..AFTER_S {
            self.advance();
        }
        let changes = self.accounts.finish();
        self.changes.extend(changes.into_iter().map(|finding| (self.next_ns, finding)));
        self.tell();
        self.claim();
        for truth in std::mem::take(&mut self.truths).into_iter().flatten() {
            *self.claims.entry((truth, None)).or_default() += 1;
        }
    }

    fn tell(&mut self) {
        for (now_ns, finding) in std::mem::take(&mut self.changes) {
            let finding = Arc::unwrap_or_clone(finding);
            let told = self
                .told
                .entry(finding.id)
                .or_insert_with(|| Told { finding: finding.clone(), warned_ns: None });
            if finding.severity >= Severity::Warning {
                told.warned_ns.get_or_insert(now_ns - EPOCH_NS);
            }
            told.finding = finding;
        }
    }
}

/// What is measured beside the product as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    /// Each detector alone.
    pub(crate) shares: bool,
    /// Others that are installed, on the same calls.
    pub(crate) comparators: bool,
}

/// Plays a plan and prints how fast that was.
pub(crate) fn run(
    settings: &Settings,
    conditions: &Conditions,
    rounds: u32,
    beside: Beside,
) -> anyhow::Result<String> {
    let best = |conditions: &Conditions| -> anyhow::Result<Measured> {
        let mut best: Option<Measured> = None;
        for _ in 0..rounds.max(1) {
            let played = play(settings, conditions, |_| {})?;
            if best.as_ref().is_none_or(|best| played.spent < best.spent) {
                best = Some(played);
            }
        }
        best.context("no rounds")
    };
    let all = best(conditions)?;
    let mut text = rates("all", &all);
    let evicted: u64 = all.snapshot.states.iter().map(|(_, state)| state.evicted).sum();
    text += &format!(
        "findings {}, of them {} warnings; evicted entries {evicted}, late calls {}, claims too late \
         {}, lost calls {}; {} MiB resident\n",
        all.played.findings.len(),
        all.played.findings.iter().filter(|told| told.warned_ns.is_some()).count(),
        all.snapshot.late_calls,
        all.snapshot.claims_too_late,
        all.dropped,
        all.resident_bytes >> 20,
    );
    for (holder, state) in &all.snapshot.states {
        text += &format!("  {holder}: {} entries, {} evicted\n", state.entries, state.evicted);
    }
    if beside.comparators {
        let calls: Vec<Planned> = Schedule::new(settings).flat_map(|slice| slice.calls).collect();
        text += &comparators::speed(&calls)?.unwrap_or_else(|| format!("{}\n", comparators::MISSING));
    }
    if beside.shares {
        let patterns: Vec<Pattern> = TABLE.iter().map(|row| row.pattern).collect();
        let none = best(&Conditions { without: patterns.clone(), ..conditions.clone() })?;
        text += &rates("without detectors", &none);
        for &pattern in &patterns {
            let without = patterns.iter().copied().filter(|&other| other != pattern).collect();
            let one = best(&Conditions { without, ..conditions.clone() })?;
            let share_ns = per_call_ns(&one) - per_call_ns(&none);
            text += &format!("  {} alone: {share_ns:+.0} ns a call\n", pattern.name());
        }
    }
    Ok(text)
}

fn per_call_ns(measured: &Measured) -> f64 {
    measured.spent.as_nanos() as f64 / measured.played.calls.max(1) as f64
}

fn rates(name: &str, measured: &Measured) -> String {
    let per_call_ns = per_call_ns(measured);
    let rate = 1e3 / per_call_ns;
    let ticking_ns = measured.ticking.as_nanos() as f64 / measured.played.calls.max(1) as f64;
    format!(
        "{name}: {} calls, {rate:.2} million calls/s on one core, {per_call_ns:.0} ns a call, {ticking_ns:.0} ns of \
         them for what is done once a second; {:.2} million calls/s without that\n",
        measured.played.calls,
        1e3 / (per_call_ns - ticking_ns),
    )
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.context("read the pages of /proc/self/statm")? * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::Intensity;
    use crate::lab::scene::Tempo;
    use crate::lab::world::Profile;

    #[test]
    fn the_same_plan_gives_the_same_findings_and_no_more_waste_than_calls() {
        let only = vec!["S1".to_owned(), "S30b".to_owned()];
        let settings = Settings {
            seed: 5,
            profile: Profile::Small,
            length_s: 720,
            tempo: Tempo::Real,
            intensity: Intensity::Clear,
            only,
        };
        let played = || play(&settings, &Conditions::default(), |_| {}).expect("a plan").played;
        let (one, other) = (played(), played());
        let findings = |played: &Played| -> Vec<Finding> {
            played.findings.iter().map(|told| told.finding.clone()).collect()
        };
        assert_eq!(findings(&one), findings(&other));
        assert_eq!(one.wasted, other.wasted);
        let wasted: u64 = one.wasted.iter().map(|wasted| wasted.amount.calls).sum();
        assert!(wasted > 0 && wasted < one.calls);
    }

    #[test]
    fn lost_calls_are_not_played() {
        let settings = Settings {
            seed: 5,
            profile: Profile::Small,
            length_s: 720,
            tempo: Tempo::Real,
            intensity: Intensity::Clear,
            only: vec!["S8".to_owned()],
        };
        let harm = Harm { drop: 0.5, ..Harm::default() };
        let whole = play(&settings, &Conditions::default(), |_| {}).expect("a plan");
        let part = play(&settings, &Conditions { harm, ..Conditions::default() }, |_| {}).expect("a plan");
        assert_eq!(part.played.calls + part.dropped, whole.played.calls);
        assert!(part.dropped > whole.played.calls / 3);
    }
}
