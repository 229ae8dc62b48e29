//! Given: calls with their connections, and ends of connections. Gives: processes that open a connection for about each
//! call and close it themselves. Refuses to know: handshakes, which are no calls.
//!
//! A first call with the number 0 opens a connection, unless that connection is known and nobody said that it ends: a
//! number of a connection comes again when it is over. Ends are put in line with the calls, which wait for their turn.
//!
//! Of the connections of a minute as many had to be opened as there were calls at one time, less what a pool would have
//! kept of the minute before. What the rest costs is not seen, but assumed: prices of calls have no connections in them,
//! so these come on top. Bytes and time of handshakes are not known and not counted.
//!
//! HTTP/1.0 without keep-alive counts as a wish to close: what is wasted is the same.

use std::collections::{BTreeSet, VecDeque};

use rotrace_ebpf::record::TLS_OBJECT;

use super::case::{CaseId, Grade};
use super::desk::Desk;
use super::detector::{Budget, ConnectionEnd, Detector, Row, State, Threshold, Values};
use super::finding::{Amount, Class, Confidence, Fact, Sample};
use super::in_flight::InFlight;
use super::observation::Observation;
use super::pattern::Pattern;
use super::table::Table;
use crate::keyed::combine;

/// The row of this detector.
pub(super) const ROW: Row = Row {
    pattern: Pattern::ConnectionChurn,
    thresholds: &[
        Threshold {
            name: "min_calls",
            default: 20.0,
            what: "calls of a process to an authority in a minute from which it is looked at",
        },
        Threshold { name: "min_opened_ratio", default: 0.5, what: "connections opened for each call" },
        Threshold {
            name: "min_client_ratio",
            default: 0.8,
            what: "part of the connections that the client closes or asks to close",
        },
        Threshold { name: "tls_connection_cu", default: 0.5, what: "cost of a TLS connection" },
        Threshold { name: "connection_cu", default: 0.05, what: "cost of a connection without TLS" },
    ],
    full_bytes: PLACES * (Table::<Place>::ENTRY_BYTES + InFlight::<IN_FLIGHT_MAX>::FULL_BYTES)
        + CONNECTIONS * Table::<Connection>::ENTRY_BYTES
        + ENDS_MAX * size_of::<ConnectionEnd>(),
    make: |values, budget| Box::new(ConnectionChurn::new(values, budget)),
};

/// Authorities of processes that are followed.
const PLACES: usize = 8 * 1024;

/// Connections that are open.
const CONNECTIONS: usize = 16 * 1024;

/// Ends that wait until all calls before them have come; another one lets the first go on.
const ENDS_MAX: usize = 4096;

/// Calls at one time, beyond which nobody can say how many connections it takes.
const IN_FLIGHT_MAX: usize = 48;

/// Calls and connections are counted for so long, and a pool would keep a connection for as long.
const WINDOW_NS: u64 = 60_000_000_000;

/// A connection that was idle for so long may be closed.
const IDLE_CLOSE_NS: u64 = 60_000_000_000;

/// A case is over after so long.
const IDLE_NS: u64 = 5 * WINDOW_NS;

#[derive(Debug)]
struct ConnectionChurn {
    rules: Rules,
    places: Table<Place>,
    connections: Table<Connection>,
    ends: VecDeque<ConnectionEnd>,
    /// Places of which something was told in the minute that goes on.
    told: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    min_calls: u64,
    min_opened_ratio: f64,
    min_client_ratio: f64,
    tls_ucu: u64,
    plain_ucu: u64,
}

/// A connection that is open, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    place: u64,
    last_ended_ns: u64,
    /// Client or server said that it ends, and that was counted.
    is_ending: bool,
}

/// An authority, called by one process.
#[derive(Debug, Default)]
struct Place {
    window: Window,
    /// Until when the last minute went that was judged.
    judged_ns: u64,
    /// Connections that a pool would have.
    kept: u32,
    in_flight: InFlight<IN_FLIGHT_MAX>,
}

/// A minute of it.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    started_ns: u64,
    calls: u32,
    opened: u32,
    by_client: u32,
    /// Of those, after the client had said so.
    by_client_said: u32,
    by_server: u32,
    max_in_flight: u32,
    is_crowded: bool,
    is_told: bool,
    is_tls: bool,
}

impl ConnectionChurn {
    fn new(values: &Values, budget: Budget) -> Self {
        let ucu = |name| (values.of_name(name) * 1e6) as u64;
        ConnectionChurn {
            rules: Rules {
                min_calls: values.count("min_calls"),
                min_opened_ratio: values.of_name("min_opened_ratio"),
                min_client_ratio: values.of_name("min_client_ratio"),
                tls_ucu: ucu("tls_connection_cu"),
                plain_ucu: ucu("connection_cu"),
            },
            places: Table::new(budget.entries(PLACES)),
            connections: Table::new(budget.entries(CONNECTIONS)),
            ends: VecDeque::new(),
            told: BTreeSet::new(),
        }
    }
}

impl Detector for ConnectionChurn {
    fn observe(&mut self, call: &Observation, desk: &mut Desk) {
        while let Some(end) = self.ends.pop_front_if(|end| end.at_ns < call.started_ns) {
            self.end(&end);
        }
        let about = combine(call.process, call.authority);
        let ConnectionChurn { rules, places, connections, told, .. } = self;
        let mut is_known = true;
        let connection = connections.of(call.conn, || {
            is_known = false;
            Connection::default()
        });
        // A connection that was to end is another one when its number begins anew.
        if connection.is_ending && call.ordinal == 0 {
            is_known = false;
            *connection = Connection::default();
        }
        let is_opened = !is_known && call.ordinal == 0;
        let was_ending = connection.is_ending;
        let says_end = call.signals.request.closes || call.signals.response.closes;
        connection.place = about;
        connection.last_ended_ns = connection.last_ended_ns.max(call.ended_ns);
        connection.is_ending |= says_end;

        let place = places.of(about, Place::default);
        if place.window.calls > 0 && call.started_ns.saturating_sub(place.window.started_ns) >= WINDOW_NS {
            place.judge(rules, id(about), desk);
        }
        place.count(call, is_opened);
        if says_end && !was_ending {
            let is_wish = call.signals.request.closes;
            place.window.by_client += u32::from(is_wish);
            place.window.by_client_said += u32::from(is_wish);
            place.window.by_server += u32::from(!is_wish);
        }
        if rules.is_churn(&place.window) {
            place.tell(call, id(about), desk);
            told.insert(about);
        }
    }

    fn tick(&mut self, _: u64, desk: &mut Desk) {
        while let Some(end) = self.ends.pop_front_if(|end| end.at_ns < desk.passed_ns) {
            self.end(&end);
        }
        let passed_ns = desk.passed_ns;
        self.judge_told(|window| passed_ns.saturating_sub(window.started_ns) >= WINDOW_NS, desk);
    }

    fn finish(&mut self, desk: &mut Desk) {
        for end in std::mem::take(&mut self.ends) {
            self.end(&end);
        }
        self.judge_told(|_| true, desk);
    }

    fn connection_ended(&mut self, end: &ConnectionEnd, _desk: &mut Desk) {
        if self.ends.len() >= ENDS_MAX
            && let Some(first) = self.ends.pop_front()
        {
            self.end(&first);
        }
        self.ends.push_back(*end);
    }

    fn state(&self) -> State {
        State::of([
            (self.places.len(), self.places.evicted()),
            (self.connections.len(), self.connections.evicted()),
        ])
    }
}

impl ConnectionChurn {
    /// Judges the minutes of which something was told and that are due.
    fn judge_told(&mut self, is_due: impl Fn(&Window) -> bool, desk: &mut Desk) {
        let ConnectionChurn { rules, places, told, .. } = self;
        told.retain(|&about| {
            let Some(place) = places.find(about).filter(|place| place.window.is_told) else { return false };
            let is_due = is_due(&place.window);
            if is_due {
                place.judge(rules, id(about), desk);
            }
            !is_due
        });
    }

    fn end(&mut self, end: &ConnectionEnd) {
        let Some(connection) = self.connections.remove(end.conn).filter(|known| !known.is_ending) else {
            return;
        };
        let Some(place) = self.places.find(connection.place) else { return };
        let is_idle = end.at_ns.saturating_sub(connection.last_ended_ns) > IDLE_CLOSE_NS;
        match end.by_client {
            Some(true) if !is_idle => place.window.by_client += 1,
            Some(false) => place.window.by_server += 1,
            _ => {}
        }
    }
}

impl Rules {
    fn is_churn(&self, window: &Window) -> bool {
        let Window { calls, opened, by_client, by_server, is_crowded, .. } = *window;
        u64::from(calls) >= self.min_calls
            && !is_crowded
            && f64::from(opened) >= self.min_opened_ratio * f64::from(calls)
            // Connections that are still open say nothing.
            && 2 * by_client >= opened
            && f64::from(by_client) >= self.min_client_ratio * f64::from(by_client + by_server)
    }
}

impl Place {
    fn count(&mut self, call: &Observation, is_opened: bool) {
        let Place { window, judged_ns, kept, in_flight } = self;
        if window.calls == 0 {
            window.started_ns = call.started_ns;
            if call.started_ns.saturating_sub(*judged_ns) > WINDOW_NS {
                *kept = 0;
            }
        }
        window.calls += 1;
        window.opened += u32::from(is_opened);
        window.is_tls |= call.conn & TLS_OBJECT != 0;
        match in_flight.begin(call) {
            Some(calls) => window.max_in_flight = window.max_in_flight.max(calls as u32),
            None => window.is_crowded = true,
        }
    }

    fn tell(&mut self, call: &Observation, id: CaseId, desk: &mut Desk) {
        let window = &mut self.window;
        let case = desk.authority_case(id, call, window.started_ns, IDLE_NS);
        if !window.is_told {
            window.is_told = true;
            case.finding.calls += u64::from(window.calls) - 1;
        }
        case.count(Sample::of(call, call.conn));
        case.allow(Grade::Scored);
        let asks = 2 * window.by_client_said > window.by_client;
        case.finding.kind = if asks { "asks_to_close" } else { "closes" };
        case.finding.confidence = if asks { Confidence::Proven } else { Confidence::Strong };
        let evidence = &mut case.finding.evidence;
        evidence.set("calls", Fact::Count(window.calls.into()));
        evidence.set("opened", Fact::Count(window.opened.into()));
        evidence.set("closed_by_client", Fact::Count(window.by_client.into()));
        evidence.set("closed_by_server", Fact::Count(window.by_server.into()));
        evidence.set("max_in_flight", Fact::Count(window.max_in_flight.into()));
        if case.finding.remedy.is_empty() {
            case.finding.remedy = if asks {
                "Do not send Connection: close; keep connections and use them again."
            } else {
                "Use one client for all calls that keeps its connections open, or HTTP/2, instead of a new client for \
                 each call."
            }
            .to_owned();
        }
    }

    /// Counts what the minute has wasted, and ends it.
    fn judge(&mut self, rules: &Rules, id: CaseId, desk: &mut Desk) {
        let window = std::mem::take(&mut self.window);
        self.judged_ns = window.started_ns.saturating_add(WINDOW_NS);
        let needed = window.max_in_flight.saturating_sub(self.kept);
        self.kept = self.kept.max(window.max_in_flight);
        if !window.is_told || !rules.is_churn(&window) {
            return;
        }
        let wasted = u64::from(window.opened.saturating_sub(needed).saturating_sub(window.by_server));
        let each_ucu = if window.is_tls { rules.tls_ucu } else { rules.plain_ucu };
        let cost_ucu = wasted.saturating_mul(each_ucu);
        desk.add(id, Amount { cost_ucu, ..Amount::default() }, Class::Avoidable);
        if let Some(case) = desk.open_case(id) {
            let evidence = &mut case.finding.evidence;
            let before = match evidence.fact("wasted_connections") {
                Some(&Fact::Count(before)) => before,
                _ => 0,
            };
            evidence.set("wasted_connections", Fact::Count(before + wasted));
        }
    }
}

fn id(about: u64) -> CaseId {
    CaseId::new(Pattern::ConnectionChurn, about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::finding::{Finding, Severity};
    use crate::detect::fixture::{Made, found, get};
    use crate::detect::subject::Api;

    /// A call a second, of which each has a connection of its own.
    fn alone(calls: u64) -> impl Iterator<Item = Made> {
        (0..calls).map(|n| get("/v1/users/7").at_ms(n * 1000).with(|call| call.conn = TLS_OBJECT | n))
    }

    fn asks(made: Made) -> Made {
        made.with(|call| call.exchange.signals.request.closes = true)
    }

    /// Kind, severity, wasted connections and cost in cost units of each finding.
    fn check(calls: impl IntoIterator<Item = Made>, expect: &[(&str, Severity, u64, f64)]) {
        let found = found(calls, |_| Api::default());
        let churn = |finding: &&Finding| finding.pattern == Pattern::ConnectionChurn;
        let seen = found.findings.iter().filter(churn).map(|finding| {
            let wasted = match finding.evidence.fact("wasted_connections") {
                Some(&Fact::Count(wasted)) => wasted,
                _ => 0,
            };
            (finding.kind, finding.severity, wasted, finding.waste.expected.cost_ucu as f64 / 1e6)
        });
        assert_eq!(seen.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn a_connection_for_each_call_is_churn() {
        // All but one, over three minutes.
        check(alone(180).map(asks), &[("asks_to_close", Severity::Warning, 179, 89.5)]);
        check(
            alone(180).map(|made| made.closing(1, Some(true))),
            &[("closes", Severity::Warning, 179, 89.5)],
        );
        // The same TLS object is used again for each, and its ends come before its calls have had their turn.
        let again =
            (0..180).map(|n| get("/v1/users/7").at_ms(n * 1000).with(|call| call.conn = TLS_OBJECT | 5));
        check(again.map(|made| made.closing(1, Some(true))), &[("closes", Severity::Warning, 179, 89.5)]);
    }

    #[test]
    fn as_many_as_at_one_time_are_needed() {
        let four = (0..200).map(|n| {
            let made = get("/v1/users/7").at_ms(n / 4 * 1200 + n % 4).lasting_ms(50);
            asks(made.with(|call| call.conn = TLS_OBJECT | n))
        });
        check(four, &[("asks_to_close", Severity::Warning, 196, 98.0)]);
    }

    #[test]
    fn without_tls_they_are_cheap() {
        let plain = alone(180).map(asks).map(|made| made.with(|call| call.conn &= !TLS_OBJECT));
        check(plain, &[("asks_to_close", Severity::Warning, 179, 8.95)]);
    }

    #[test]
    fn near_misses_are_none() {
        // The server closes, or says that it will, or nobody saw who did.
        check(alone(180).map(|made| made.closing(1, Some(false))), &[]);
        check(alone(180).map(|made| made.with(|call| call.exchange.signals.response.closes = true)), &[]);
        check(alone(180).map(|made| made.closing(1, None)), &[]);
        // They are still open: a pool fills.
        check(alone(180), &[]);
        // Idle connections are closed.
        check(alone(180).map(|made| made.closing(61_000, Some(true))), &[]);
        // Nineteen calls a minute.
        let rare =
            (0..57).map(|n| get("/v1/users/7").at_ms(n * 3200).with(|call| call.conn = TLS_OBJECT | n));
        check(rare.map(asks), &[]);
        // Three calls on each.
        let three = (0..180).map(|n| {
            let made = get("/v1/users/7").at_ms(n * 1000).with(|call| {
                call.conn = TLS_OBJECT | (n / 3);
                call.exchange.ordinal = n % 3;
            });
            if n % 3 == 2 { made.closing(1, Some(true)) } else { made }
        });
        check(three, &[]);
    }

    #[test]
    fn a_pool_that_is_older_than_the_first_call_is_none() {
        let pool = (0..200).map(|n| {
            get("/v1/users/7").at_ms(n * 300).with(|call| {
                call.conn = n % 20;
                call.exchange.ordinal = n / 20;
            })
        });
        check(pool, &[]);
    }
}
