//! Given: records, from the ring buffer or from a capture, in their order. Gives: calls, and everything that is counted of
//! them and of what was not seen. Refuses to know: where records come from, and who reads the calls. The only place that
//! knows the order of the core's modules. It is long because each kind of record concerns several parts of one state.

mod accounts;
mod calls;
mod connection;
mod peer;
mod scans;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rotrace_ebpf::record::{Header, Open, Record, direction, flag, kind};
use rotrace_ebpf::stats::{LOSSES, LOST_BYTES};

use crate::accounts::Accounts;
use crate::attribute::{GameByProcess, Games, Rules};
use crate::call::{Call, Process};
use crate::capture::{KERNEL, KERNEL_BYTES, Losses, NOT_RUN, ProcessFacts};
use crate::conn::{Connection, Connections};
use crate::cost::Prices;
use crate::detect::finding::Finding;
use crate::detect::{self, ConnectionEnd};
use crate::endpoint::Endpoints;
use crate::endpoint::learned::Dictionary;
use crate::exchange::{Decoder, Role, Wanted};
use crate::http::sniff;
use crate::summary::Summary;
use calls::{Emit, Handshake, Shared};
use connection::{connection, count_opened, read};
use scans::Scans;
use tls::{Verdict, judge};

/// A TLS connection whose plaintext has not shown up for so long is not decoded.
const TLS_JUDGED_AFTER_NS: u64 = 5_000_000_000;

/// A connection that has not been heard of for so long is forgotten; a close record may have been lost.
const IDLE_NS: u64 = 600_000_000_000;

/// So often what was learned of endpoints is taken into account.
const SETTLE_NS: u64 = 1_000_000_000;

/// What the pipeline is asked for.
#[derive(Debug)]
pub struct Settings {
    /// How processes and calls are named.
    pub rules: Rules,
    /// How paths are named.
    pub endpoints: Endpoints,
    /// Which calls are taken.
    pub roles: BTreeSet<Role>,
    /// Connections that are decoded at one time.
    pub connections: usize,
    /// What calls cost.
    pub prices: Prices,
    /// How waste is looked for.
    pub detect: detect::Settings,
}

/// What comes out beside the counts.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// A call that is over.
    Call(&'a Call),
    /// A finding that is new, has gone on, or is over.
    Finding(&'a Finding),
    /// Nothing more will come of a socket: the probes may ignore it.
    Ignore {
        /// The key that its open record gave.
        socket: u64,
        /// Its number.
        conn: u64,
    },
}

/// A process that records speak of.
#[derive(Debug)]
struct Known {
    process: Arc<Process>,
    by_process: GameByProcess,
}

/// What a connection is, beside its bytes.
#[derive(Debug)]
struct State {
    /// Who was last seen to use it.
    pid: u32,
    process: Arc<Known>,
    open: Option<Open>,
    /// It was made while it was watched.
    from_start: bool,
    /// It has been counted as opened.
    counted: bool,
    /// The peer has ended its direction.
    peer_ended: bool,
    /// The call with which it became another protocol, as few do.
    handshake: Option<Box<Handshake>>,
    speaks: Speaks,
}

#[derive(Debug)]
enum Speaks {
    /// Nothing yet.
    Nothing,
    /// HTTP/1, or what may be.
    Http(Box<Decoder>),
    /// It is not read any more.
    Opaque,
    /// TLS on a socket.
    Tls {
        since_ns: u64,
        /// The TLS object whose plaintext it carries.
        object: Option<u64>,
        /// The server's name, as its client asked for it.
        authority: Option<Box<str>>,
        /// Bytes that have not been counted as not decoded.
        bytes: u64,
        verdict: Verdict,
    },
}

/// Records in, calls out.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    wanted: Wanted,
    games: Games,
    processes: BTreeMap<u32, Arc<Known>>,
    connections: Connections<State>,
    /// TLS objects that were never seen to use a socket, by process: each stands for one TLS connection of the process,
    /// though nobody can say which.
    unbound: BTreeMap<u32, u64>,
    summary: Summary,
    accounts: Accounts,
    scans: Scans,
    next_settle_ns: u64,
    records: u64,
    /// Of them, those that came before the last record of losses.
    records_judged: u64,
    captured_bytes: u64,
    malformed: u64,
    evicted: u64,
    overlap_bytes: u64,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(mut settings: Settings) -> Self {
        let prices = std::mem::take(&mut settings.prices);
        Pipeline {
            accounts: Accounts::new(prices, &settings.detect),
            wanted: settings.rules.wanted_fields(),
            connections: Connections::new(settings.connections),
            settings,
            games: Games::default(),
            processes: BTreeMap::new(),
            unbound: BTreeMap::new(),
            summary: Summary::default(),
            scans: Scans::default(),
            next_settle_ns: 0,
            records: 0,
            records_judged: 0,
            captured_bytes: 0,
            malformed: 0,
            evicted: 0,
            overlap_bytes: 0,
        }
    }

    /// Takes other rules from now on. Processes keep the game that they have until they are read again, and
    /// detectors the thresholds that they began with.
    pub fn replace_settings(&mut self, mut settings: Settings) {
        self.wanted = settings.rules.wanted_fields();
        self.accounts.replace_prices(std::mem::take(&mut settings.prices));
        settings.endpoints.inherit(&mut self.settings.endpoints);
        // Numbers of before and after would have nothing in common under another key.
        settings.detect = std::mem::take(&mut self.settings.detect);
        self.settings = settings;
    }

    /// Takes the next record.
    pub fn feed(&mut self, bytes: &[u8], out: &mut dyn FnMut(Output<'_>)) {
        let Ok(record) = Record::decode(bytes) else {
            self.malformed += 1;
            return;
        };
        self.records += u64::from(!kind::is_from_user_space(record.header.kind));
        self.advance(record.header.time_ns, out);
        self.captured_bytes += if record.header.kind == kind::DATA { record.payload.len() as u64 } else { 0 };
        let makes_known = matches!(record.header.kind, kind::DATA | kind::OPEN | kind::BIND);
        if makes_known && self.connections.is_full() && self.connections.find(record.header.conn).is_none() {
            self.make_room(record.header.time_ns, out);
        }
        match record.header.kind {
            kind::DATA => self.data(&record, out),
            kind::OPEN => self.open(&record),
            kind::CLOSE => self.close(&record.header, out),
            kind::END => self.end(&record.header, out),
            kind::BIND => self.bind(&record.header),
            kind::FORK => self.fork(&record.header),
            kind::EXIT | kind::GONE => {
                self.processes.remove(&record.header.pid);
                self.unbound.remove(&record.header.pid);
            }
            kind::PROCESS => self.process(&record),
            kind::LOSS => self.losses(&record),
            // An exec is followed by what user space knows of the process now; the rest is answers to questions.
            _ => {}
        }
    }

    /// Lets time pass: what has been idle too long is forgotten, and TLS that stays dark is counted.
    pub fn tick(&mut self, now_ns: u64, out: &mut dyn FnMut(Output<'_>)) {
        self.advance(now_ns, out);
        for (conn, mut connection) in self.connections.take_idle(now_ns.saturating_sub(IDLE_NS)) {
            self.evicted += 1;
            let last_ns = connection.last_ns;
            self.finish(conn, &mut connection, last_ns, out);
        }
        let Pipeline { connections, unbound, summary, .. } = self;
        for (_, connection) in connections.iter_mut() {
            if let Speaks::Tls { since_ns, .. } = connection.state.speaks
                && now_ns.saturating_sub(since_ns) >= TLS_JUDGED_AFTER_NS
            {
                judge(&mut connection.state, unbound, summary, now_ns);
            }
        }
    }

    /// Tells what has been found by now.
    fn advance(&mut self, now_ns: u64, out: &mut dyn FnMut(Output<'_>)) {
        if now_ns >= self.next_settle_ns {
            self.next_settle_ns = now_ns.saturating_add(SETTLE_NS);
            self.settle(now_ns);
        }
        self.accounts.advance(now_ns).iter().for_each(|finding| out(Output::Finding(finding)));
    }

    /// Shows calls under the endpoints that they have by what was learned.
    fn settle(&mut self, now_ns: u64) {
        let Pipeline { settings: Settings { endpoints, .. }, summary, .. } = self;
        endpoints.settle();
        summary.release(now_ns, &mut |endpoint| endpoints.settled(endpoint));
    }

    /// Ends everything that is in flight, as when the tracer stops.
    pub fn finish_all(&mut self, now_ns: u64, out: &mut dyn FnMut(Output<'_>)) {
        let open: Vec<u64> = self.connections.iter_mut().map(|(conn, _)| conn).collect();
        for conn in open {
            if let Some(mut connection) = self.connections.remove(conn) {
                self.finish(conn, &mut connection, now_ns, out);
            }
        }
        // Nothing more will come that could end a doubt.
        self.settle(u64::MAX);
        self.accounts.finish().iter().for_each(|finding| out(Output::Finding(finding)));
    }

    /// The game of a process by the rules in force, for the process record that user space writes.
    pub fn game_of(&mut self, facts: &dyn crate::attribute::Facts) -> GameByProcess {
        self.settings.rules.game_of_process(facts, &mut self.games)
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.settings.rules
    }

    /// How endpoints are told.
    pub fn endpoints(&self) -> &Endpoints {
        &self.settings.endpoints
    }

    /// Takes what was learned of endpoints before.
    pub fn learn(&mut self, learned: Dictionary) {
        self.settings.endpoints.learn(learned);
    }

    /// Processes that are known, by game.
    pub fn processes_by_game(&self) -> BTreeMap<Box<str>, u64> {
        let mut count = BTreeMap::new();
        for known in self.processes.values() {
            let game = known.by_process.game.as_deref().unwrap_or(crate::summary::UNKNOWN_GAME);
            *count.entry(game.into()).or_default() += 1;
        }
        count
    }

    /// Forgets figures of endpoints and games that have been idle for `idle_ns`.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64) {
        self.summary.expire(now_ns, idle_ns);
        self.accounts.expire(now_ns, idle_ns, &self.summary);
    }

    /// Everything that is counted, as of now.
    pub fn summary(&mut self) -> Summary {
        self.summary.tracked_connections = self.connections.len() as u64;
        self.summary.records = self.records;
        self.summary.captured_bytes = self.captured_bytes;
        self.summary.losses.insert(("pipeline", "malformed_record"), self.malformed);
        self.summary.losses.insert(("pipeline", "connection_evicted"), self.evicted);
        self.summary.shortfall.bytes.insert(("pipeline", "overlap"), self.overlap_bytes);
        self.summary.shortfall.games_refused = self.games.refused();
        self.summary.shortfall.games_altered = self.games.altered();
        self.summary.clear_active();
        let Pipeline { connections, summary, .. } = self;
        for (_, connection) in connections.iter_mut() {
            let Speaks::Http(decoder) = &connection.state.speaks else { continue };
            let Some(role) = decoder.role().filter(|_| decoder.in_flight() > 0) else { continue };
            let game = connection.state.process.by_process.game.as_ref();
            let coverage = summary.coverage_mut(game, connection.last_ns);
            *coverage.active_requests.of_mut(role) += decoder.in_flight() as u64;
        }
        self.summary.clone()
    }

    fn data(&mut self, record: &Record<'_>, out: &mut dyn FnMut(Output<'_>)) {
        let header = &record.header;
        let Pipeline {
            settings,
            wanted,
            games,
            processes,
            connections,
            summary,
            accounts,
            scans,
            overlap_bytes,
            ..
        } = self;
        summary.observe(header.time_ns);
        let connection = connection(connections, processes, header);
        if header.flags & flag::ENCRYPTED != 0 {
            count_opened(connection, summary, |opened| &mut opened.tls);
            return self.encrypted(record);
        }
        if let Speaks::Nothing = connection.state.speaks {
            let from_start = header.flags & flag::FROM_START != 0 || connection.state.from_start;
            connection.state.speaks = Speaks::Http(Box::new(if from_start {
                Decoder::from_start().keyed(settings.detect.key)
            } else {
                Decoder::joined_late().keyed(settings.detect.key)
            }));
        }
        count_opened(connection, summary, |opened| &mut opened.plain);
        let emit = Emit { settings, games, summary, accounts, out };
        *overlap_bytes += read(connection, wanted, header, record.payload, header.size, scans, emit);
    }

    /// Takes what a record says of one direction beside its bytes.
    fn no_bytes(&mut self, header: &Header, out: &mut dyn FnMut(Output<'_>)) {
        let Pipeline {
            settings, wanted, games, connections, summary, accounts, scans, overlap_bytes, ..
        } = self;
        if let Some(connection) = connections.find(header.conn) {
            let emit = Emit { settings, games, summary, accounts, out };
            *overlap_bytes += read(connection, wanted, header, &[], 0, scans, emit);
        }
    }

    fn end(&mut self, header: &Header, out: &mut dyn FnMut(Output<'_>)) {
        let Some(Connection { state, .. }) = self.connections.find(header.conn) else { return };
        state.peer_ended = true;
        match state.speaks {
            // A TLS library has given out all plaintext before it finds the end of its socket.
            Speaks::Tls { object: Some(object), .. } => {
                self.no_bytes(&Header { conn: object, position: 0, ..*header }, out);
            }
            _ => self.no_bytes(header, out),
        }
    }

    fn open(&mut self, record: &Record<'_>) {
        let Some(open) = record.open() else { return };
        let header = &record.header;
        let from_start = header.flags & flag::FROM_START != 0;
        let Connection { sent, received, state, .. } = self.connection(header);
        sent.begin_at(header.position);
        received.begin_at(header.size);
        state.open = Some(open);
        state.from_start |= from_start;
    }

    fn encrypted(&mut self, record: &Record<'_>) {
        let header = &record.header;
        let Pipeline { connections, unbound, summary, .. } = self;
        let Some(connection) = connections.find(header.conn) else { return };
        if !matches!(connection.state.speaks, Speaks::Tls { .. }) {
            // Only a ClientHello is copied.
            let authority = sniff::client_hello_server_name(record.payload).server_name;
            let (since_ns, object, bytes, verdict) = (header.time_ns, None, 0, Verdict::Open);
            connection.state.speaks = Speaks::Tls { since_ns, object, authority, bytes, verdict };
        }
        if let Speaks::Tls { bytes, verdict, .. } = &mut connection.state.speaks {
            *bytes += header.size;
            if *verdict == Verdict::Opaque {
                judge(&mut connection.state, unbound, summary, header.time_ns);
            }
        }
    }

    fn bind(&mut self, header: &Header) {
        let socket = header.extra;
        let object = header.conn;
        if socket == 0 {
            *self.unbound.entry(header.pid).or_default() += 1;
            self.connection(header);
            return;
        }
        let mut open = None;
        if let Some(Connection { state, .. }) = self.connections.find(socket) {
            open = state.open;
            if let Speaks::Tls { object: known, verdict, .. } = &mut state.speaks {
                *known = Some(object);
                *verdict = if *verdict == Verdict::Open { Verdict::Decoded } else { *verdict };
            }
        }
        let known = self.connections.find(object).is_some();
        let state = &mut self.connection(header).state;
        // The socket has been counted; its key is no key of a TLS object.
        state.open = open.map(|open| Open { socket: 0, ..open });
        state.counted = true;
        // The socket may be older than the probes of the library.
        state.from_start |= header.flags & flag::FROM_START != 0;
        if known && let Some(unbound) = self.unbound.get_mut(&header.pid) {
            *unbound = unbound.saturating_sub(1);
        }
    }

    fn close(&mut self, header: &Header, out: &mut dyn FnMut(Output<'_>)) {
        // What was lost at the end of a direction is a gap like any other.
        let Header { position: sent, size: received, .. } = *header;
        for (direction, total) in [(direction::SENT, sent), (direction::RECEIVED, received)] {
            let last = Header { direction, position: total, flags: header.flags & !flag::TURN, ..*header };
            self.no_bytes(&last, out);
        }
        let Some(mut connection) = self.connections.remove(header.conn) else { return };
        let by_client = Some(!connection.state.peer_ended);
        self.accounts.connection_ended(&ConnectionEnd {
            conn: header.conn,
            at_ns: header.time_ns,
            by_client,
        });
        if let Speaks::Tls { object: Some(object), .. } = connection.state.speaks
            && let Some(mut inside) = self.connections.remove(object)
        {
            self.accounts.connection_ended(&ConnectionEnd { conn: object, at_ns: header.time_ns, by_client });
            self.finish(object, &mut inside, header.time_ns, out);
        }
        self.finish(header.conn, &mut connection, header.time_ns, out);
    }

    /// Ends what a connection has in flight.
    fn finish(
        &mut self,
        conn: u64,
        connection: &mut Connection<State>,
        at_ns: u64,
        out: &mut dyn FnMut(Output<'_>),
    ) {
        let Pipeline { settings, games, summary, accounts, unbound, .. } = self;
        let Connection { state, .. } = connection;
        match &mut state.speaks {
            Speaks::Http(decoder) => {
                let mut shared = Shared {
                    open: state.open.as_ref(),
                    known: &state.process,
                    conn,
                    is_from_start: state.from_start,
                    handshake: &mut state.handshake,
                };
                let mut emit = Emit { settings, games, summary, accounts, out };
                decoder.close(at_ns, &mut |event| emit.event(&mut shared, event));
            }
            Speaks::Tls { .. } => judge(state, unbound, summary, at_ns),
            Speaks::Nothing | Speaks::Opaque => {}
        }
    }

    fn make_room(&mut self, now_ns: u64, out: &mut dyn FnMut(Output<'_>)) {
        for (conn, mut connection) in self.connections.take_idle(0) {
            self.evicted += 1;
            self.finish(conn, &mut connection, now_ns, out);
        }
    }

    fn fork(&mut self, header: &Header) {
        let (child, pid) = (header.extra as u32, (header.extra >> 32) as u32);
        let Some(parent) = self.processes.get(&header.pid) else { return };
        // Until user space has read the child: it is a copy of its parent, but for its number.
        let process = Process {
            pid: if pid == 0 { child } else { pid },
            start_ticks: 0,
            ..Process::clone(&parent.process)
        };
        let known = Known { process: Arc::new(process), by_process: parent.by_process.clone() };
        self.processes.insert(child, Arc::new(known));
    }

    fn process(&mut self, record: &Record<'_>) {
        let Ok(facts) = serde_json::from_slice::<ProcessFacts>(record.payload) else {
            self.malformed += 1;
            return;
        };
        let ProcessFacts { pid, start_ticks, exe, game, headers_before } = facts;
        let game = game.and_then(|game| self.games.name(&game));
        let process = Process { pid, start_ticks, exe: exe.into(), game: game.clone() };
        let by_process = GameByProcess::recorded(game, headers_before);
        self.processes.insert(record.header.pid, Arc::new(Known { process: Arc::new(process), by_process }));
    }

    fn losses(&mut self, record: &Record<'_>) {
        let Ok(losses) = serde_json::from_slice::<Losses>(record.payload) else {
            self.malformed += 1;
            return;
        };
        let count =
            |stage, reason| losses.get(stage).and_then(|stage| stage.get(reason)).copied().unwrap_or(0);
        let mut lost = 0_u64;
        for reason in LOSSES.map(|(_, reason)| reason).into_iter().chain([NOT_RUN]) {
            let total = count(KERNEL, reason);
            let before = self.summary.losses.insert((KERNEL, reason), total).unwrap_or(0);
            lost = lost.saturating_add(total.saturating_sub(before));
        }
        let seen = self.records - std::mem::replace(&mut self.records_judged, self.records);
        self.accounts.count_loss(record.header.time_ns, lost, seen);
        for (_, reason) in LOST_BYTES {
            self.summary.shortfall.bytes.insert((KERNEL, reason), count(KERNEL_BYTES, reason));
        }
    }

    fn connection(&mut self, header: &Header) -> &mut Connection<State> {
        connection(&mut self.connections, &self.processes, header)
    }
}

impl Known {
    /// A process whose record was lost, or stands behind its first bytes.
    fn stranger(pid: u32) -> Self {
        let process = Process { pid, start_ticks: 0, exe: "".into(), game: None };
        Known { process: Arc::new(process), by_process: GameByProcess::recorded(None, 0) }
    }
}

#[cfg(test)]
mod tests;
