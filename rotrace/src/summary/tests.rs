//! Given: calls. Gives: whether each is counted once, where it belongs, and with all that is known of it. Refuses to know:
//! how a summary is shown.

use proptest::prelude::*;

use super::fixture::call;
use super::*;
use crate::exchange::Outcome;

/// Series as lines: game, endpoint, role, then calls by method and code, bytes, busy and number of durations.
fn check(summary: &Summary, expect: &[&str]) {
    let mut lines = Vec::new();
    for (name, game) in summary.games() {
        for role in [Role::Client, Role::Server] {
            for (endpoint, series) in game.series(role) {
                let calls: Vec<_> = series
                    .calls()
                    .map(|(method, code, calls)| format!("{} {} {calls}", method.name(), code.name()))
                    .collect();
                lines.push(format!(
                    "{name} {endpoint} {role:?}: {}; {}/{} bytes; busy {}; {} timed",
                    calls.join(", "),
                    series.request_bytes,
                    series.response_bytes,
                    series.busy_ns,
                    series.durations.count(),
                ));
            }
        }
    }
    assert_eq!(lines, expect);
}

#[test]
fn calls_are_counted_by_game_endpoint_and_role() {
    let mut summary = Summary::default();
    summary.record(&call("chess", "api/b"));
    summary.record(&call("chess", "api/b"));
    summary.record(&call("chess", "api/a"));
    summary.record(&call(UNKNOWN_GAME, "api/a"));
    let mut served = call("chess", "api/a");
    served.exchange.role = Role::Server;
    served.exchange.method = "BREW".into();
    summary.record(&served);
    check(
        &summary,
        &[
            "chess api/a Client: GET 2xx 1; 100/1200 bytes; busy 10000000; 1 timed",
            "chess api/b Client: GET 2xx 2; 200/2400 bytes; busy 20000000; 2 timed",
            "chess api/a Server: other 2xx 1; 100/1200 bytes; busy 10000000; 1 timed",
            "unknown api/a Client: GET 2xx 1; 100/1200 bytes; busy 10000000; 1 timed",
        ],
    );
    assert_eq!(summary.calls(), 5);
    assert_eq!(summary.observed_ns(), Some(12_000_000));
}

#[test]
fn what_was_not_seen_whole_is_counted_but_not_timed() {
    let mut summary = Summary::default();
    let mut of = |outcome, first_byte_ns, ended_ns, body| {
        let mut call = call("chess", "api/a");
        call.exchange.outcome = outcome;
        call.exchange.first_byte_ns = first_byte_ns;
        call.exchange.ended_ns = ended_ns;
        call.exchange.response_body_bytes = body;
        summary.record(&call);
    };
    of(Outcome::Aborted, None, Some(9_000_000_000), None);
    of(Outcome::Lost, None, None, None);
    of(Outcome::Unbounded, Some(1_000_000_007), None, None);
    check(&summary, &["chess api/a Client: GET 2xx 1, GET none 2; 300/600 bytes; busy 7; 0 timed"]);
}

#[test]
fn lengths_that_lie_do_not_overflow() {
    let mut summary = Summary::default();
    let mut call = call("chess", "api/a");
    call.exchange.request_body_bytes = Some(u64::MAX);
    summary.record(&call);
    summary.record(&call);
    check(
        &summary,
        &["chess api/a Client: GET 2xx 2; 18446744073709551615/2400 bytes; busy 20000000; 2 timed"],
    );
    let (_, game) = summary.games().next().expect("a game");
    assert_eq!(game.total(Role::Client).map(|total| total.request_body_bytes), Some(u64::MAX));
}

#[test]
fn a_duration_at_a_bound_is_in_its_bucket() {
    let mut summary = Summary::default();
    for duration_ns in [5_000_000, 5_000_001, 10_000_000_000, 10_000_000_001] {
        let mut call = call("chess", "api/a");
        call.exchange.ended_ns = Some(call.exchange.started_ns + duration_ns);
        summary.record(&call);
    }
    let (_, game) = summary.games().next().expect("a game");
    let total = game.total(Role::Client).expect("calls");
    assert_eq!(total.duration_buckets, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn calls_in_doubt_are_shown_when_it_is_over() {
    let mut summary = Summary::default();
    ["api/a", "api/b", "api/c"].iter().for_each(|endpoint| summary.hold(&call("chess", endpoint)));
    summary.hold(&call(UNKNOWN_GAME, "api/a"));
    check(&summary, &[]);
    assert_eq!(summary.calls(), 4);
    let now_ns = 1_012_000_000;
    let mut settled = |endpoint: &str| match endpoint {
        "api/c" => ("api/c".into(), true),
        _ => ("api/{name}".into(), false),
    };
    summary.release(now_ns, &mut settled);
    let of = |game: &str, endpoint: &str, calls: u32| {
        let bytes = (100 * calls, 1200 * calls);
        let busy = 10_000_000 * calls;
        format!(
            "{game} {endpoint} Client: GET 2xx {calls}; {}/{} bytes; busy {busy}; {calls} timed",
            bytes.0, bytes.1
        )
    };
    let unknown = of("unknown", "api/{name}", 1);
    check(&summary, &[&of("chess", "api/{name}", 2), &unknown]);
    summary.release(now_ns + HELD_NS - 1, &mut settled);
    check(&summary, &[&of("chess", "api/{name}", 2), &unknown]);
    summary.release(now_ns + HELD_NS, &mut settled);
    check(&summary, &[&of("chess", "api/c", 1), &of("chess", "api/{name}", 2), &unknown]);
    summary.hold(&call("chess", "api/c"));
    check(&summary, &[&of("chess", "api/c", 2), &of("chess", "api/{name}", 2), &unknown]);
    assert_eq!(summary.calls(), 5);
}

#[test]
fn above_the_cap_calls_go_to_the_endpoint_other() {
    let mut summary = Summary::with_max_keys(2);
    for endpoint in ["api/a", "api/b", "api/c", "api/d", "api/b", "api/c"] {
        summary.record(&call("chess", endpoint));
    }
    let (_, game) = summary.games().next().expect("a game");
    let got: Vec<_> =
        game.series(Role::Client).map(|(endpoint, series)| (endpoint, series.total())).collect();
    assert_eq!(got, [("api/a", 1), ("api/b", 2), ("other", 3)]);
    assert_eq!((summary.calls(), summary.overflow_calls()), (6, 3));
}

#[test]
fn above_the_cap_on_games_calls_go_to_the_game_other() {
    let mut summary = Summary::default();
    for game in 0..MAX_GAMES + 5 {
        let game: Arc<str> = game.to_string().into();
        summary.coverage_mut(Some(&game), 0).add_opaque("full");
    }
    assert_eq!(summary.games().count(), MAX_GAMES + 1);
    let (_, other) = summary.games().find(|&(name, _)| name == OTHER).expect("other");
    assert_eq!(other.coverage.opaque["full"], 5);
}

#[test]
fn idle_endpoints_and_games_are_forgotten_and_leave_room() {
    let mut summary = Summary::with_max_keys(1);
    summary.record(&call("chess", "api/a"));
    summary.coverage_mut(Some(&"go".into()), 5_000_000_000).active_requests.client = 1;
    summary.expire(1_012_000_000 + 99, 100);
    assert_eq!(summary.calls(), 1);
    summary.expire(9_000_000_000, 100);
    let games: Vec<_> = summary.games().map(|(name, _)| name).collect();
    assert_eq!(games, ["go"], "a game with a request under way is not idle");
    summary.record(&call("chess", "api/b"));
    assert_eq!(summary.overflow_calls(), 0);
}

#[test]
fn a_clone_does_not_change_with_later_calls() {
    let mut summary = Summary::default();
    summary.record(&call("chess", "api/a"));
    let snapshot = summary.clone();
    summary.record(&call("chess", "api/a"));
    assert_eq!((snapshot.calls(), summary.calls()), (1, 2));
}

proptest! {
    #[test]
    fn every_call_is_counted_once_and_memory_is_bounded(
        calls in proptest::collection::vec((0u8..4, 0u8..20, any::<bool>(), any::<u16>()), 0..200),
    ) {
        let mut summary = Summary::with_max_keys(10);
        for (game, endpoint, is_server, status) in &calls {
            let mut call = call(&format!("g{game}"), &format!("api/{endpoint}"));
            call.exchange.role = if *is_server { Role::Server } else { Role::Client };
            call.exchange.status = Some(*status);
            summary.record(&call);
        }
        prop_assert_eq!(summary.calls(), calls.len() as u64);
        let roles = [Role::Client, Role::Server];
        let keys = summary.games().flat_map(|(_, game)| roles.map(|role| game.series(role).count()));
        prop_assert!(keys.sum::<usize>() <= 10 + 4 * 2);
    }
}

#[test]
fn server_names_beyond_the_bound_are_counted_together() {
    let mut opaque = TlsOpaque::default();
    for number in 0..AUTHORITIES_MAX + 3 {
        opaque.of_mut(Some(&format!("shard{number:03}.example.com"))).connections += 1;
    }
    opaque.of_mut(Some("shard000.example.com")).bytes += 7;
    let authorities: Vec<_> = opaque.authorities().collect();
    assert_eq!(authorities.len(), AUTHORITIES_MAX + 1);
    assert_eq!(authorities[0], (OTHER_AUTHORITIES, TlsFigures { connections: 3, bytes: 0 }));
    assert_eq!(authorities[1], ("shard000.example.com", TlsFigures { connections: 1, bytes: 7 }));
    assert_eq!(opaque.all(), TlsFigures { connections: AUTHORITIES_MAX as u64 + 3, bytes: 7 });
}
