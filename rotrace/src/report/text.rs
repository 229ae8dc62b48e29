//! Given: a call or the summary. Gives: text for people: one aligned line per call, and the report at the end. Refuses
//! to know: how wide the terminal is, and whether it is one.

use super::meaning::{loss_meaning, lost_bytes_meaning, unnamed_meaning, unpaired_meaning};
use super::units::{bytes, duration};
use super::visible::{escape, visible_target};
use super::wall::WallClock;
use super::websocket;
use crate::call::Call;
use crate::exchange::{Exchange, Outcome, Role};
use crate::summary::shortfall::Shortfall;
use crate::summary::{Coverage, Game, Series, Summary};

/// Endpoints that the report at the end shows per game and role: those with the most calls.
const TOP_ENDPOINTS: usize = 10;

/// Columns of the game in the line of a call; longer names are cut.
const GAME_COLUMNS: usize = 16;

/// Columns of the method: those of `OPTIONS` and `CONNECT`.
const METHOD_COLUMNS: usize = 7;

/// Stands for what is not known.
const UNKNOWN: &str = "-";

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nothing but text.
    Plain,
    /// With colours as ANSI sequences (ECMA-48 §8.3.117).
    Coloured,
}

#[derive(Clone, Copy)]
pub(super) enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// The line of a call, without the line end: time of day in UTC, game, PID, `→` for a call made and `←` for one served,
/// status, duration, bytes of request and response, method, authority and target.
pub fn call_line(call: &Call, clock: WallClock, style: Style, allowed_keys: &[Box<str>]) -> String {
    let method = if call.exchange.method.is_empty() { UNKNOWN } else { &*call.exchange.method };
    let exchange = &call.exchange;
    let status = exchange.status.map_or(UNKNOWN.to_owned(), |status| format!("{status:03}"));
    let colour = match exchange.status {
        Some(200..=299) => Colour::Green,
        Some(100..=199 | 300..=399) => Colour::Cyan,
        Some(400..=499) => Colour::Yellow,
        _ => Colour::Red,
    };
    let response_bytes = exchange.response_head_bytes.zip(exchange.response_body_bytes);
    let request_bytes =
        exchange.request_body_bytes.map(|body| body.saturating_add(exchange.request_head_bytes));
    let note = match exchange.outcome {
        Outcome::Complete => "",
        Outcome::Aborted => " (aborted)",
        Outcome::Unbounded => " (end not seen)",
        Outcome::Lost => " (response not seen)",
    };
    [
        paint(style, Colour::Dim, &clock.time_of_day(exchange.started_ns)),
        format!(" {} ", fit(call.game.as_deref().unwrap_or(UNKNOWN), GAME_COLUMNS)),
        format!("{:>7} ", call.process.pid),
        match exchange.role {
            Role::Client => "→ ".to_owned(),
            Role::Server => "← ".to_owned(),
        },
        paint(style, colour, &format!("{status:>3}")),
        format!(" {:>7} ", exchange.duration_ns().map_or(UNKNOWN.to_owned(), duration)),
        format!("{:>7} ", request_bytes.map_or(UNKNOWN.to_owned(), bytes)),
        format!(
            "{:>7} ",
            response_bytes.map_or(UNKNOWN.to_owned(), |(head, body)| bytes(head.saturating_add(body)))
        ),
        paint(style, Colour::Bold, &fit(method, METHOD_COLUMNS)),
        format!(" {}", escape(exchange.authority.as_deref().unwrap_or(""))),
        target(exchange, allowed_keys),
        paint(style, Colour::Red, note),
    ]
    .concat()
}

fn target(exchange: &Exchange, allowed_keys: &[Box<str>]) -> String {
    if exchange.unnamed.is_some() { "/-".into() } else { visible_target(&exchange.target, allowed_keys) }
}

/// The report at the end: figures of each game, its busiest endpoints, and what was not seen.
pub fn end_report(summary: &Summary, style: Style) -> String {
    let observed_ns = summary.observed_ns();
    let mut out = format!(
        "{} observed, {}\n",
        observed_ns.map_or("nothing".to_owned(), duration),
        plural(summary.calls(), "call")
    );
    let mut rows = Vec::new();
    for (name, game) in summary.games() {
        for (role, verb) in [(Role::Client, "made"), (Role::Server, "served")] {
            rows.extend(game.total(role).map(|total| game_row(name, verb, &total, observed_ns)));
        }
    }
    if !rows.is_empty() {
        let head =
            ["CALLS", "CALLS/S", "ERRORS", "NO ANSWER", "REQUESTS", "RESPONSES", "P50", "P99", "", "GAME"];
        out.push_str(&format!("\n{}", table(style, head, &rows)));
    }
    for (name, game) in summary.games() {
        for (role, verb) in [(Role::Client, "made"), (Role::Server, "served")] {
            out.push_str(&top_endpoints(style, name, game, role, verb));
        }
        out.push_str(&websocket::endpoints(style, name, game));
    }
    out.push_str(&format!("\n{}", losses(style, summary)));
    out.push_str(&hidden(summary));
    out
}

fn game_row(name: &str, verb: &str, total: &Series, observed_ns: Option<u64>) -> [String; 10] {
    let rate = observed_ns.filter(|&ns| ns > 0).map(|ns| total.total() as f64 / (ns as f64 / 1e9));
    [
        total.total().to_string(),
        rate.map_or(UNKNOWN.to_owned(), |rate| format!("{rate:.1}")),
        total.errors().to_string(),
        total.unanswered().to_string(),
        bytes(total.request_bytes),
        bytes(total.response_bytes),
        quantile(total, 0.5),
        quantile(total, 0.99),
        verb.to_owned(),
        escape(name),
    ]
}

fn top_endpoints(style: Style, name: &str, game: &Game, role: Role, verb: &str) -> String {
    let mut endpoints: Vec<_> =
        game.series(role).map(|(endpoint, series)| (endpoint, series.total(), series)).collect();
    let all: u64 = endpoints.iter().map(|(_, calls, _)| calls).sum();
    if all == 0 {
        return String::new();
    }
    // The sort is stable, so endpoints with as many calls stay in the order of their names.
    endpoints.sort_by_key(|&(_, calls, _)| std::cmp::Reverse(calls));
    let title = match endpoints.len() {
        few @ 0..=TOP_ENDPOINTS => plural(few as u64, "endpoint"),
        many => format!("{TOP_ENDPOINTS} busiest of {many} endpoints"),
    };
    let rows: Vec<_> = endpoints
        .iter()
        .take(TOP_ENDPOINTS)
        .map(|&(endpoint, calls, series)| {
            let share = calls as f64 * 100.0 / all as f64;
            [
                calls.to_string(),
                format!("{share:.1} %"),
                series.errors().to_string(),
                series.unanswered().to_string(),
                bytes(series.request_bytes),
                bytes(series.response_bytes),
                quantile(series, 0.5),
                quantile(series, 0.99),
                methods(series),
                escape(endpoint),
            ]
        })
        .collect();
    let head = [
        "CALLS",
        "SHARE",
        "ERRORS",
        "NO ANSWER",
        "REQUESTS",
        "RESPONSES",
        "P50",
        "P99",
        "METHOD",
        "ENDPOINT",
    ];
    format!("\n{}, calls {verb}: {title}\n{}", escape(name), table(style, head, &rows))
}

/// The methods of an endpoint's calls, joined.
fn methods(series: &Series) -> String {
    let mut methods: Vec<_> = series.calls().map(|(method, _, _)| method.name()).collect();
    methods.dedup();
    methods.join(",")
}

fn losses(style: Style, summary: &Summary) -> String {
    let events = summary.losses.iter().filter(|&(_, &count)| count > 0);
    let events = events.map(|((stage, reason), count)| {
        let meaning = loss_meaning(reason).map_or(String::new(), |meaning| format!(": {meaning}"));
        format!("  {count} {stage} {reason}{meaning}\n")
    });
    let lost_bytes = summary.shortfall.bytes.iter().filter(|&(_, &count)| count > 0);
    let lost_bytes = lost_bytes.map(|((stage, reason), &count)| {
        format!("  {} {stage} {reason}: {}\n", bytes(count), lost_bytes_meaning(reason))
    });
    let lines: Vec<_> = events.chain(lost_bytes).collect();
    if lines.is_empty() {
        return "lost: 0\n".to_owned();
    }
    format!("{}\n{}", paint(style, Colour::Red, "lost:"), lines.concat())
}

/// What was there to be seen and is in none of the figures, in words.
fn hidden(summary: &Summary) -> String {
    let mut lines = Vec::new();
    for (name, game) in summary.games() {
        let Coverage { tls_opaque, opaque, unpaired, unnamed, .. } = &game.coverage;
        let name = escape(name);
        for (authority, figures) in tls_opaque.authorities() {
            let connections = plural(figures.connections, "TLS connection");
            let (authority, size) = (escape(authority), bytes(figures.bytes));
            lines.push(format!(
                "{name}: {connections} to {authority} ({size}) without plaintext; the calls on them are missing"
            ));
        }
        for (reason, &count) in opaque {
            lines.push(format!("{name}: {} not decoded ({reason})", plural(count, "connection")));
        }
        for (reason, count) in unpaired {
            lines.push(format!("{name}: {count} × {}", unpaired_meaning(reason)));
        }
        for (reason, &count) in unnamed {
            let calls = plural(count, "call");
            lines.push(format!("{name}: {calls} without a path ({})", unnamed_meaning(reason)));
        }
    }
    if summary.overflow_calls() > 0 {
        let calls = plural(summary.overflow_calls(), "call");
        lines.push(format!("{calls} under the endpoint `other`: there are too many endpoints to keep apart"));
    }
    let Shortfall { games_refused, games_altered, .. } = summary.shortfall;
    if games_refused > 0 {
        let names = plural(games_refused, "game name");
        lines.push(format!("{names} became `other`: there are too many games to keep apart"));
    }
    if games_altered > 0 {
        let names = plural(games_altered, "game name");
        lines.push(format!("{names} cut, or with characters that are not visible replaced"));
    }
    if lines.is_empty() {
        return "not decoded: 0\n".to_owned();
    }
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("not decoded:\n{lines}")
}

/// Columns under their heads: numbers to the right, the last two to the left, and no space at the end of a line.
pub(super) fn table<const N: usize>(style: Style, head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let mut line = String::from(" ");
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push(' ');
            line.push_str(&if column + 2 < N {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            });
        }
        line.trim_end().to_owned()
    };
    let mut out = format!("{}\n", paint(style, Colour::Bold, &line(&head)));
    rows.iter().for_each(|row| out.push_str(&format!("{}\n", line(row))));
    out
}

pub(super) fn paint(style: Style, colour: Colour, text: &str) -> String {
    match style {
        Style::Coloured if !text.is_empty() => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
        _ => text.to_owned(),
    }
}

/// The text in exactly so many columns, cut with `…` where it is longer.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let text = escape(text);
    if text.chars().count() <= columns {
        return format!("{text:<columns$}");
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

fn quantile(series: &Series, q: f64) -> String {
    series.durations.quantile_ns(q).map_or(UNKNOWN.to_owned(), duration)
}

pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::visible::is_unsafe;
    use super::*;
    use crate::exchange::Unpaired;
    use crate::summary::fixture::call;
    use crate::summary::{TlsFigures, UNKNOWN_GAME};
    use proptest::prelude::*;

    const CLOCK: WallClock = WallClock { offset_ns: 1_755_000_000_000_000_000 };

    fn check(change: fn(&mut Call), expect: &str) {
        let mut call = call("chess", "api.example.com/v1/users");
        change(&mut call);
        assert_eq!(call_line(&call, CLOCK, Style::Plain, &["page".into()]), expect);
    }

    #[test]
    fn lines_of_calls_stand_in_columns() {
        check(
            |call| call.exchange.target = "/v1/users?page=1&key=x".into(),
            "12:00:01.000 chess               4711 → 200 12.0 ms   100 B 1.20 kB GET     \
             api.example.com/v1/users?page=1&key=…",
        );
        check(
            |call| {
                call.exchange.role = Role::Server;
                call.exchange.outcome = Outcome::Lost;
                call.exchange.status = None;
                call.exchange.ended_ns = None;
                call.exchange.request_body_bytes = None;
                call.exchange.response_head_bytes = None;
                call.exchange.authority = None;
                call.exchange.method = "UNSUBSCRIBE".into();
                call.game = Some("a game with a long name".into());
            },
            "12:00:01.000 a game with a l…    4711 ←   -       -       -       - UNSUBS… \
             /v1/users (response not seen)",
        );
    }

    #[test]
    fn colours_stand_around_text_and_change_nothing_else() {
        let call = call("chess", "api/a");
        let plain = call_line(&call, CLOCK, Style::Plain, &[]);
        let coloured = call_line(&call, CLOCK, Style::Coloured, &[]);
        assert!(coloured.contains("\x1b[32m200\x1b[0m"), "{coloured:?}");
        let mut stripped = coloured;
        for code in [0, 1, 2, 31, 32] {
            stripped = stripped.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn the_report_of_nothing() {
        assert_eq!(
            end_report(&Summary::default(), Style::Plain),
            "nothing observed, 0 calls\n\nlost: 0\nnot decoded: 0\n"
        );
    }

    #[test]
    fn the_report_at_the_end() {
        let mut summary = Summary::with_max_keys(13);
        for number in 0..12 {
            for _ in 0..=number {
                summary.record(&call("chess", &format!("api/e{number:02}")));
            }
        }
        let mut served = call("chess", "api/e00");
        served.exchange.role = Role::Server;
        served.exchange.status = Some(500);
        served.exchange.method = "POST".into();
        summary.record(&served);
        let mut lost = call(UNKNOWN_GAME, "api/a");
        lost.exchange.outcome = Outcome::Lost;
        summary.record(&lost);
        summary.observe(0);
        summary.observe(4_000_000_000);
        summary.losses.insert(("probe", "ring_full"), 3);
        summary.losses.insert(("probe", "fault"), 0);
        summary.losses.insert(("pipeline", "some_reason"), 1);
        let coverage = summary.coverage_mut(Some(&"chess".into()), 0);
        *coverage.tls_opaque.of_mut(Some("api.example.com")) = TlsFigures { connections: 1, bytes: 1500 };
        coverage.add_opaque("http2");
        coverage.add_unpaired(Unpaired::Response);
        let expect = "\
4.00 s observed, 80 calls

  CALLS CALLS/S ERRORS NO ANSWER REQUESTS RESPONSES     P50     P99        GAME
     78    19.5      0         0  7.80 kB   93.6 kB 12.0 ms 12.0 ms made   chess
      1     0.2      1         0    100 B   1.20 kB 12.0 ms 12.0 ms served chess
      1     0.2      0         1    100 B   1.20 kB       -       - made   unknown

chess, calls made: 10 busiest of 12 endpoints
  CALLS  SHARE ERRORS NO ANSWER REQUESTS RESPONSES     P50     P99 METHOD ENDPOINT
     12 15.4 %      0         0  1.20 kB   14.4 kB 12.0 ms 12.0 ms GET    api/e11
     11 14.1 %      0         0  1.10 kB   13.2 kB 12.0 ms 12.0 ms GET    api/e10
     10 12.8 %      0         0  1.00 kB   12.0 kB 12.0 ms 12.0 ms GET    api/e09
      9 11.5 %      0         0    900 B   10.8 kB 12.0 ms 12.0 ms GET    api/e08
      8 10.3 %      0         0    800 B   9.60 kB 12.0 ms 12.0 ms GET    api/e07
      7  9.0 %      0         0    700 B   8.40 kB 12.0 ms 12.0 ms GET    api/e06
      6  7.7 %      0         0    600 B   7.20 kB 12.0 ms 12.0 ms GET    api/e05
      5  6.4 %      0         0    500 B   6.00 kB 12.0 ms 12.0 ms GET    api/e04
      4  5.1 %      0         0    400 B   4.80 kB 12.0 ms 12.0 ms GET    api/e03
      3  3.8 %      0         0    300 B   3.60 kB 12.0 ms 12.0 ms GET    api/e02

chess, calls served: 1 endpoint
  CALLS   SHARE ERRORS NO ANSWER REQUESTS RESPONSES     P50     P99 METHOD ENDPOINT
      1 100.0 %      1         0    100 B   1.20 kB 12.0 ms 12.0 ms POST   api/e00

unknown, calls made: 1 endpoint
  CALLS   SHARE ERRORS NO ANSWER REQUESTS RESPONSES P50 P99 METHOD ENDPOINT
      1 100.0 %      0         1    100 B   1.20 kB   -   - GET    other

lost:
  1 pipeline some_reason
  3 probe ring_full: records found no room in the ring buffer; calls in them are missing or not complete
not decoded:
  chess: 1 TLS connection to api.example.com (1.50 kB) without plaintext; the calls on them are missing
  chess: 1 connection not decoded (http2)
  chess: 1 × a response whose request was not seen
  1 call under the endpoint `other`: there are too many endpoints to keep apart
";
        let report = end_report(&summary, Style::Plain);
        assert_eq!(report, expect, "{report}");
    }

    proptest! {
        #[test]
        fn text_of_traffic_controls_no_terminal_and_moves_no_column(text in any::<String>()) {
            let mut call = call("chess", "api/a");
            call.game = Some(text.as_str().into());
            call.exchange.method = text.clone().into();
            call.exchange.authority = Some(text.as_str().into());
            call.exchange.target = text.as_str().into();
            call.endpoint = text.as_str().into();
            let line = call_line(&call, CLOCK, Style::Plain, &[]);
            prop_assert!(!line.contains(is_unsafe), "{line:?}");
            prop_assert_eq!(line.chars().nth(38), Some('→'));
            let mut summary = Summary::default();
            summary.record(&call);
            let report = end_report(&summary, Style::Plain);
            prop_assert!(!report.replace('\n', "").contains(is_unsafe), "{report:?}");
        }
    }
}
