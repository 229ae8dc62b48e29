//! Given: planned calls. Gives: calls as the decoder would make them of their bytes, in the order in which they would be
//! over, some of them lost or late when that is asked for. Refuses to know: what is true of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotrace::call::{Call, Process};
use rotrace::detect::{ConnectionEnd, Pattern};
use rotrace::exchange::ids::{Ids, SCANNED_BYTES};
use rotrace::exchange::signals::{Content, Fingerprint, RequestSignals, ResponseSignals, Signals, url};
use rotrace::exchange::{Exchange, FINGERPRINT_BYTES, Outcome, Role};
use rotrace::http::Protocol;
use rotrace::keyed::{Key, combine};
use rotrace_ebpf::record::TLS_OBJECT;

use super::api::{APIS, Api};
use super::plan::{Keep, MS, Planned, Reply, SECOND};
use super::random::Random;
use super::schedule::Slice;
use super::world::World;

/// When the plan begins on the clock of the calls: the servers were started before, and after the host.
pub(crate) const EPOCH_NS: u64 = 10_000 * SECOND;

/// A tick of the start times of processes.
const TICK_NS: i64 = 10_000_000;

/// How late a call may come when the order is disturbed.
const LATE_NS: u64 = 200 * MS;

/// What is taken away from what could be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Harm {
    /// Share of calls that are lost.
    pub(crate) drop: f64,
    /// Calls come up to 200 ms late.
    pub(crate) reorder: bool,
    /// Answers can be told apart by their length alone.
    pub(crate) no_fingerprints: bool,
}

/// Makes calls.
#[derive(Debug)]
pub(crate) struct Maker {
    processes: Vec<Arc<Process>>,
    endpoints: Vec<Arc<str>>,
    authorities: Vec<Arc<str>>,
    harm: Harm,
    random: Random,
    key: Key,
    /// What is over later.
    later: Vec<(u64, Event)>,
    /// Calls that were lost.
    pub(crate) dropped: u64,
}

/// What is true of a call, and nobody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Truth {
    /// As in [`Planned::cause`].
    pub(crate) cause: u32,
    /// As in [`Planned::wasted`].
    pub(crate) wasted: Option<Pattern>,
}

/// What somebody sees.
#[derive(Debug)]
pub(crate) enum Event {
    /// [`Maker::call`] makes what is seen of it.
    Call(Planned),
    End(ConnectionEnd),
}

impl Truth {
    pub(crate) fn of(planned: &Planned) -> Self {
        Truth { cause: planned.cause, wasted: planned.wasted }
    }
}

impl Maker {
    pub(crate) fn new(world: &World, harm: Harm) -> Self {
        // As of the product, the name of a game is in memory once.
        let mut games: BTreeMap<&str, Arc<str>> = BTreeMap::new();
        let process = |(index, process): (usize, &super::world::Process)| {
            let game = &*world.game(index as u32).name;
            let started = (EPOCH_NS / TICK_NS as u64) as i64 + process.started_s * 100;
            Arc::new(Process {
                pid: process.pid,
                start_ticks: started.unsigned_abs(),
                exe: "/opt/games/server".into(),
                game: Some(Arc::clone(games.entry(game).or_insert_with(|| game.into()))),
            })
        };
        let apis = || (0..APIS.len()).map(|index| Api(index as u16));
        Maker {
            processes: world.processes().iter().enumerate().map(process).collect(),
            endpoints: apis().map(|api| api.terms().endpoint.into()).collect(),
            authorities: apis().map(|api| api.authority().into()).collect(),
            harm,
            random: Random::of(world.seed, &[6]),
            key: Key::default(),
            later: Vec::new(),
            dropped: 0,
        }
    }

    /// What is over by the end of a slice, in that order.
    pub(crate) fn make(&mut self, slice: Slice) -> Vec<(u64, Event)> {
        let mut due = std::mem::take(&mut self.later);
        for call in slice.calls {
            let (is_lost, late_ns) = (self.random.unit() < self.harm.drop, self.random.below(0..LATE_NS));
            if is_lost {
                self.dropped += 1;
                continue;
            }
            let at_ns = call.end_ns() + if self.harm.reorder { late_ns } else { 0 };
            due.push((EPOCH_NS + at_ns, Event::Call(call)));
        }
        let end = |end: &ConnectionEnd| ConnectionEnd {
            conn: TLS_OBJECT | end.conn,
            at_ns: EPOCH_NS + end.at_ns,
            ..*end
        };
        due.extend(slice.ends.iter().map(|ended| (EPOCH_NS + ended.at_ns, Event::End(end(ended)))));
        (due, self.later) = due.into_iter().partition(|(at_ns, _)| *at_ns < EPOCH_NS + slice.until_ns);
        due.sort_by_key(|(at_ns, _)| *at_ns);
        due
    }

    /// Everything that is left.
    pub(crate) fn finish(&mut self) -> Vec<(u64, Event)> {
        let mut due = std::mem::take(&mut self.later);
        due.sort_by_key(|(at_ns, _)| *at_ns);
        due
    }

    /// The call that is made of a planned one.
    pub(crate) fn call(&self, planned: &Planned) -> Call {
        let Planned { start_ns, process, api, target, ask, reply, conn, .. } = planned;
        let terms = api.terms();
        let process = Arc::clone(&self.processes[*process as usize]);
        let path = target.split('?').next().unwrap_or_default();
        let has_status = reply.status != 0;
        let first_byte_ns = start_ns + reply.first_byte_ns;
        let is_answered = has_status && first_byte_ns <= planned.end_ns();
        Call {
            exchange: Exchange {
                ordinal: conn.ordinal,
                role: Role::Client,
                protocol: Protocol::Http11,
                method: terms.method.into(),
                target: target.clone(),
                authority: Some(Arc::clone(&self.authorities[usize::from(api.0)])),
                status: is_answered.then_some(reply.status),
                request_head_bytes: 260 + target.len() as u64,
                request_body_bytes: Some(ask.body_bytes.into()),
                response_head_bytes: is_answered.then_some(310),
                response_body_bytes: is_answered.then_some(reply.body_bytes.into()),
                started_ns: EPOCH_NS + start_ns,
                first_byte_ns: is_answered.then_some(EPOCH_NS + first_byte_ns),
                ended_ns: Some(EPOCH_NS + planned.end_ns()),
                outcome: if planned.is_aborted() { Outcome::Aborted } else { Outcome::Complete },
                ambiguous_framing: false,
                fields: Vec::new(),
                grpc: None,
                unnamed: None,
                signals: self.signals(planned, is_answered),
            },
            game: process.game.clone(),
            process,
            endpoint: Arc::clone(&self.endpoints[usize::from(api.0)]),
            path: path.into(),
            conn: TLS_OBJECT | conn.number,
            tls: true,
            cost_ucu: None,
            peer: None,
        }
    }

    fn signals(&self, planned: &Planned, is_answered: bool) -> Signals {
        let Planned { ask, reply, .. } = planned;
        let print = |bytes: u32, body: u64| {
            let is_seen = bytes > 0 && !self.harm.no_fingerprints;
            is_seen.then(|| Fingerprint { hash: combine(body, 2), is_whole: bytes <= FINGERPRINT_BYTES })
        };
        let request = RequestSignals {
            credentials: (ask.credentials > 0).then(|| combine(ask.credentials, 3)),
            body: print(ask.body_bytes, ask.body),
            is_conditional: ask.is_conditional,
            accepts_coding: ask.accepts_coding,
            is_range: false,
            closes: ask.keep == Keep::ClosedByClient,
        };
        if !is_answered {
            return Signals { request, ..Signals::default() };
        }
        let location = reply.location.as_ref().map(|(authority, target)| url(authority, target, &self.key));
        let response = ResponseSignals {
            etag: (reply.has_etag && !self.harm.no_fingerprints).then(|| combine(reply.body, 4)),
            last_modified: None,
            body: print(reply.body_bytes, reply.body),
            ids: self.ids(planned),
            max_age_s: reply.max_age_s,
            age_s: None,
            no_store: reply.no_store,
            retry_after_s: reply.retry_after_s,
            rate_limit: reply.rate_limit,
            poll_interval_s: None,
            location,
            content: reply.content,
            is_coded: reply.is_coded,
            is_attachment: false,
            is_deprecated: reply.is_deprecated,
            closes: false,
        };
        Signals { request, response, is_partial: false }
    }

    /// What the decoder would find in the body that the platform of a play would send.
    fn ids(&self, planned: &Planned) -> Ids {
        let Reply { status, body_bytes, body, content, is_coded, .. } = planned.reply;
        let is_read =
            planned.api.terms().method == "GET" && status == 200 && content == Content::Text && !is_coded;
        if !is_read || body_bytes == 0 || body_bytes > SCANNED_BYTES || self.harm.no_fingerprints {
            return Ids::default();
        }
        let own = format!("{body:016x}");
        let ids = [Some(own.as_str()), planned.reply.brings.as_deref()].into_iter().flatten();
        Ids::of(&self.key, ids.map(str::as_bytes))
    }
}
