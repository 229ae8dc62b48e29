//! Given: reads of lists. Gives: processes that walk through lists in pages smaller than the service allows, that skip over
//! much with offsets, or that walk through the same list again. Refuses to know: what is listed.
//!
//! A walk is the reads of one list by one process that differ in the key that says which page, none long after the one
//! before it: where a player turns the pages, there are pauses. How large pages are is in the query, or in the catalogue,
//! or is how far offsets are apart; how large they could be is in the catalogue, or is the largest that was asked for on
//! this host, and then the waste is potential. Of a list whose pages have no known size, only walks that come again are
//! found. The first page of a list has no key that says which: it is known by a page size in its query or in the catalogue.
//!
//! Walks are compared over their first [`PAGES_MAX`] pages. A walk that is so far the same as the last one waits for its
//! end before it is judged: it should not have been made at all.

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::observation::{Observation, Reply, Strength, Verb};
use super::pattern::Pattern;
use super::query::PartKind;
use super::table::Table;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::TinyPages,
    thresholds: &[
        Threshold { name: "min_pages", default: 5.0, what: "pages of a walk in a minute" },
        Threshold {
            name: "warn_pages",
            default: 20.0,
            what: "pages of such walks of one endpoint from which they are a warning",
        },
        Threshold { name: "pause_s", default: 2.0, what: "pause after which the next page is another walk" },
        Threshold { name: "deep_offset", default: 1000.0, what: "offset from which a walk skips over much" },
    ],
    full_bytes: WALKS * (Table::<Walk>::ENTRY_BYTES + PAGES_MAX * (size_of::<u64>() + 2 * size_of::<u32>()))
        + LISTS * (Table::<List>::ENTRY_BYTES + PENDING_MAX * size_of::<(CaseId, u64)>())
        + SIZES * Table::<u32>::ENTRY_BYTES,
    make: |values, budget| Box::new(TinyPages::new(values, budget)),
};

/// Lists of processes whose walks are followed.
const WALKS: usize = 1024;

/// Endpoints of processes.
const LISTS: usize = 512;

/// Endpoints of games whose largest page is remembered.
const SIZES: usize = 2048;

/// Pages of a walk that are compared.
const PAGES_MAX: usize = 64;

/// Pages that wait until there are enough, and are then claimed.
const PENDING_MAX: usize = PAGES_MAX;

const SECOND_NS: u64 = 1_000_000_000;

/// Time in which there are so many pages in a walk.
const WALK_NS: u64 = 60 * SECOND_NS;

/// A walk is compared to one that is no older, and a case is over after so long.
const RESCAN_NS: u64 = 600 * SECOND_NS;

#[derive(Debug)]
struct TinyPages {
    rules: Rules,
    walks: Table<Walk>,
    lists: Table<List>,
    largest: Table<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    min_pages: usize,
    warn_pages: u64,
    pause_ns: u64,
    deep_offset: u32,
}

/// The walk of one process through one list.
#[derive(Debug, Default)]
struct Walk {
    started_ns: u64,
    ended_ns: u64,
    pages: usize,
    /// Numbers of the calls.
    seqs: Vec<u64>,
    /// Pages up to here are told or claimed.
    judged: usize,
    /// Numbers of pages and what was in them.
    prints: Vec<u32>,
    /// Those of the last walk that was long enough, and when it ended.
    before: Vec<u32>,
    before_ended_ns: u64,
    /// So far it is the same as the one before.
    is_same: bool,
    /// Surely so.
    is_sure: bool,
    first_value: u32,
    last_value: u32,
    offset: Option<u32>,
    /// How far offsets are apart; 0 when that differs.
    step: Option<u32>,
    is_counted: bool,
}

/// All walks of one process through the lists of one endpoint.
#[derive(Debug, Default)]
struct List {
    pages: u64,
    last_ns: u64,
    pending: Vec<(CaseId, u64)>,
}

/// How large pages are, and how large they could be.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    size: u32,
    most: u32,
    is_documented: bool,
    is_default: bool,
}

/// What is wrong with a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    DefaultLimit,
    SmallLimit,
    OffsetScan,
    FullRescan,
}

impl TinyPages {
    fn new(values: &Values, budget: Budget) -> Self {
        TinyPages {
            rules: Rules {
                min_pages: (values.count("min_pages") as usize).clamp(2, PAGES_MAX),
                warn_pages: values.count("warn_pages"),
                pause_ns: values.ns("pause_s"),
                deep_offset: values.count("deep_offset").min(u32::MAX.into()) as u32,
            },
            walks: Table::new(budget.entries(WALKS)),
            lists: Table::new(budget.entries(LISTS)),
            largest: Table::new(budget.entries(SIZES)),
        }
    }
}

impl Detector for TinyPages {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        if call.verb != Verb::Read || call.reply != Reply::Success {
            return;
        }
        let paging = call.parts.first(PartKind::Paging).copied();
        let asked =
            call.parts.first(PartKind::PageSize).and_then(|part| part.number).filter(|&size| size > 0);
        let has_pages = |desk: &Desk| {
            let api = desk.subject(call).map(|subject| &subject.api);
            api.is_some_and(|api| api.default_page.is_some() || api.max_page.is_some())
        };
        if paging.is_none() && asked.is_none() && !has_pages(desk) {
            return;
        }
        if let Some(asked) = asked {
            let largest = self.largest.of(call.endpoint, || asked);
            *largest = (*largest).max(asked);
        }
        let rules = self.rules;
        let about = combine(combine(call.resource, call.parts.listing), call.process);
        let is_over = |walk: &Walk| walk.is_over(call.started_ns, &rules);
        let walk = self.walks.of_live(about, is_over, Walk::default);
        let value = paging.map_or(0, |part| part.value);
        let is_again = walk.pages > 0 && value == walk.last_value;
        let pause_ns = call.started_ns.saturating_sub(walk.ended_ns);
        let is_first = paging.is_none() || value == walk.first_value;
        if walk.pages == 0 || pause_ns > rules.pause_ns || is_first && !is_again {
            walk.begin(call, value, rules.min_pages);
        } else if is_again {
            // The same page again is another detector's.
            return;
        }
        walk.take(call, value, paging.map(|part| part.number));
        if walk.pages >= rules.min_pages {
            self.judge(call, about, asked, desk);
        }
    }

    fn state(&self) -> State {
        State::of([
            (self.walks.len(), self.walks.evicted()),
            (self.lists.len(), self.lists.evicted()),
            (self.largest.len(), self.largest.evicted()),
        ])
    }
}

impl TinyPages {
    fn judge(&mut self, call: &Observation, about: u64, asked: Option<u32>, desk: &mut Desk) {
        let TinyPages { rules, walks, lists, largest } = self;
        let Some(walk) = walks.find(about) else { return };
        let is_fast = walk.is_counted || call.started_ns.saturating_sub(walk.started_ns) <= WALK_NS;
        if !is_fast {
            return;
        }
        let list = lists.of(call.scope, List::default);
        list.count(call, if walk.is_counted { 1 } else { walk.pages as u64 });
        walk.is_counted = true;
        let is_warning = list.pages >= rules.warn_pages;
        if walk.is_same {
            if walk.pages == walk.before.len() {
                walk.rescan(call, list, is_warning, desk);
            }
            return;
        }
        if walk.step.is_some_and(|step| step > 1) && walk.offset.is_some_and(|at| at > rules.deep_offset) {
            let case = Kind::OffsetScan.case(call, walk.started_ns, desk);
            case.count(Sample::of(call, about));
            case.finding.confidence = Confidence::Strong;
            let offset = u64::from(walk.offset.unwrap_or_default());
            case.finding.evidence.set("offset", Fact::Count(offset));
            if case.finding.remedy.is_empty() {
                case.finding.remedy =
                    "Ask for pages by cursor or by the last key: a service reads whatever an offset \
                                       skips."
                        .to_owned();
            }
        }
        let api = desk.api(call);
        let step = walk.step.filter(|&step| step > 1);
        let Some(size) = asked.or(api.default_page).or(step) else { return };
        let observed = largest.peek(call.endpoint).copied();
        let Some(most) = api.max_page.or(observed).filter(|&most| most > size) else { return };
        let is_documented = api.max_page.is_some();
        let sizes = Sizes { size, most, is_documented, is_default: asked.is_none() };
        walk.shrink(call, sizes, list, is_warning, desk);
        if let Some(case) = desk.open_case(sizes.kind().id(call))
            && case.finding.remedy.is_empty()
        {
            let key = api.page_size_key.as_deref().unwrap_or("limit");
            case.finding.remedy =
                format!("Ask for {key}={most} items a page instead of {size}, and keep the list.");
        }
    }
}

impl Walk {
    /// It goes on no more, and is too short or too old to be compared to another one.
    fn is_over(&self, now_ns: u64, rules: &Rules) -> bool {
        let idle_ns = now_ns.saturating_sub(self.ended_ns);
        let is_short = self.pages < rules.min_pages && self.before.is_empty();
        idle_ns > if is_short { rules.pause_ns } else { RESCAN_NS }
    }

    /// Another walk begins.
    fn begin(&mut self, call: &Observation, value: u32, min_pages: usize) {
        let (mut before, mut before_ended_ns) = (std::mem::take(&mut self.before), self.before_ended_ns);
        if self.pages >= min_pages && self.pages <= PAGES_MAX {
            before = std::mem::take(&mut self.prints);
            before_ended_ns = self.ended_ns;
        }
        let is_same = !before.is_empty() && call.started_ns.saturating_sub(before_ended_ns) <= RESCAN_NS;
        *self = Walk {
            started_ns: call.started_ns,
            before,
            before_ended_ns,
            is_same,
            is_sure: true,
            first_value: value,
            ..Walk::default()
        };
    }

    fn take(&mut self, call: &Observation, value: u32, number: Option<Option<u32>>) {
        let content = call.fingerprint();
        let print = combine(value.into(), content.map_or(0, |(_, content)| content)) as u32;
        self.is_same &= content.is_some() && self.before.get(self.pages) == Some(&print);
        self.is_sure &= content.is_some_and(|(strength, _)| strength >= Strength::Prefix);
        if self.pages < PAGES_MAX {
            self.prints.push(print);
            self.seqs.push(call.seq);
        }
        // The first page is at 0 when nothing says where it is.
        let offset = number.unwrap_or(Some(0));
        if let (Some(before), Some(offset)) = (self.offset, offset) {
            let step = offset.saturating_sub(before);
            self.step = Some(if self.step.is_none_or(|known| known == step) { step } else { 0 });
        }
        self.offset = offset;
        self.pages += 1;
        self.last_value = value;
        self.ended_ns = self.ended_ns.max(call.ended_ns);
    }

    /// The whole list was walked through before, and nothing has changed.
    fn rescan(&mut self, call: &Observation, list: &mut List, is_warning: bool, desk: &mut Desk) {
        let case = Kind::FullRescan.case(call, self.started_ns, desk);
        case.finding.calls += self.pages as u64 - 1;
        case.count(Sample::of(call, call.parts.listing));
        case.finding.confidence = if self.is_sure { Confidence::Proven } else { Confidence::Heuristic };
        case.finding.evidence.set("pages", Fact::Count(self.pages as u64));
        let since_ns = self.started_ns.saturating_sub(self.before_ended_ns);
        case.finding.evidence.set("since_last", Fact::Ns(since_ns));
        if case.finding.remedy.is_empty() {
            case.finding.remedy =
                "Keep the list, and walk through it again only when it may have changed.".to_owned();
        }
        if !self.is_sure {
            return;
        }
        let id = Kind::FullRescan.id(call);
        self.judged = self.pages;
        for seq in self.seqs.drain(..) {
            list.wait(id, seq);
        }
        list.claim(is_warning, whole(call), Class::Avoidable, desk);
    }

    /// Pages could be larger: of all that are not judged yet, those are wasted that would not have begun a larger one.
    fn shrink(
        &mut self,
        call: &Observation,
        sizes: Sizes,
        list: &mut List,
        is_warning: bool,
        desk: &mut Desk,
    ) {
        let Sizes { size, most, is_documented, .. } = sizes;
        let id = sizes.kind().id(call);
        let case = sizes.kind().case(call, self.started_ns, desk);
        case.finding.calls += (self.pages - self.judged) as u64 - 1;
        case.count(Sample::of(call, call.parts.listing));
        case.finding.confidence = if is_documented { Confidence::Proven } else { Confidence::Heuristic };
        let evidence = &mut case.finding.evidence;
        evidence.set("pages", Fact::Count(self.pages as u64));
        evidence.set("page_size", Fact::Count(size.into()));
        evidence.set("page_size_max", Fact::Count(most.into()));
        for page in self.judged..self.pages {
            let large = |pages: usize| (pages as u64 * u64::from(size)).div_ceil(most.into());
            let is_kept = large(page + 1) > large(page);
            let seq = if page + 1 == self.pages { Some(call.seq) } else { self.seqs.get(page).copied() };
            if let Some(seq) = seq.filter(|_| !is_kept) {
                list.wait(id, seq);
            }
        }
        self.judged = self.pages;
        let class = if is_documented { Class::Avoidable } else { Class::Potential };
        // What is listed has to be moved in any case.
        let amount = Amount { bytes: call.head_bytes(), ..whole(call) };
        list.claim(is_warning, amount, class, desk);
    }
}

impl List {
    fn count(&mut self, call: &Observation, pages: u64) {
        if call.started_ns.saturating_sub(self.last_ns) > RESCAN_NS {
            *self = List::default();
        }
        self.pages += pages;
        self.last_ns = call.ended_ns;
    }

    fn wait(&mut self, id: CaseId, seq: u64) {
        // Those that find no room are not claimed: the waste is rather told too small.
        if self.pending.len() < PENDING_MAX {
            self.pending.push((id, seq));
        }
    }

    fn claim(&mut self, is_warning: bool, amount: Amount, class: Class, desk: &mut Desk) {
        if !is_warning {
            return;
        }
        for (id, seq) in self.pending.drain(..) {
            if let Some(case) = desk.open_case(id) {
                case.allow(Grade::Scored);
            }
            desk.claim(id, seq, amount, class);
        }
    }
}

impl Sizes {
    fn kind(self) -> Kind {
        if self.is_default { Kind::DefaultLimit } else { Kind::SmallLimit }
    }
}

impl Kind {
    fn id(self, call: &Observation) -> CaseId {
        CaseId::new(Pattern::TinyPages, combine(call.scope, self as u64))
    }

    fn case<'a>(self, call: &Observation, started_ns: u64, desk: &'a mut Desk) -> &'a mut super::case::Case {
        let case = desk.case(self.id(call), call, started_ns, RESCAN_NS);
        case.finding.kind = match self {
            Kind::DefaultLimit => "default_limit",
            Kind::SmallLimit => "small_limit",
            Kind::OffsetScan => "offset_scan",
            Kind::FullRescan => "full_rescan",
        };
        case
    }
}

fn whole(call: &Observation) -> Amount {
    Amount { calls: 1, bytes: call.bytes(), server_ns: call.server_ns, cost_ucu: call.cost_ucu }
}

#[cfg(test)]
mod tests;
