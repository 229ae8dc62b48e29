//! Given: for each pattern of waste, calls that are one and calls that only look like it. Gives: proof that a capture of
//! the first has exactly that finding with exactly these numbers, and that a capture of the second has none. Refuses to
//! know: how a pattern is found.
//!
//! `REGENERATE=1 cargo test -p rotrace --test replay` makes the captures and what is found in each anew; the numbers of
//! [`CASES`] are for people to judge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::traffic::{Asked, Traffic, get, send};

const SECOND_MS: u64 = 1000;

/// A pattern, what is one, and what is none.
struct Case {
    pattern: &'static str,
    fires: fn() -> Traffic,
    near: fn() -> Traffic,
    /// Kind, severity, class and the number that is reported.
    expect: &'static str,
}

const CASES: [Case; 16] = [
    Case {
        pattern: "wasted_response",
        fires: || timeouts(23),
        near: || timeouts(9),
        expect: "timeout warning avoidable: 23 calls, 1163 bytes, 0 ms, 23.0 CU",
    },
    Case {
        pattern: "retry_storm",
        fires: || failures(&[100; 24]),
        near: || failures(&[2000, 4000, 8000]),
        expect: "no_backoff warning avoidable: 21 calls, 2184 bytes, 0 ms, 21.0 CU",
    },
    Case {
        pattern: "rate_limit_pressure",
        fires: || rejected(12),
        near: || rejected(9),
        expect: "rejected warning avoidable: 12 calls, 1560 bytes, 0 ms, 1.2 CU",
    },
    Case {
        pattern: "error_loop",
        fires: || refused(20),
        near: || refused(4),
        expect: "request warning avoidable: 18 calls, 1692 bytes, 0 ms, 5.4 CU",
    },
    Case {
        pattern: "redirect_chain",
        fires: || redirected(24),
        near: || redirected(2),
        expect: "permanent warning avoidable: 24 calls, 2616 bytes, 240 ms, 24.0 CU",
    },
    Case {
        pattern: "duplicate_request",
        fires: || reads(24, 40),
        near: || reads(7, 5 * SECOND_MS),
        expect: " warning avoidable: 23 calls, 2139 bytes, 0 ms, 23.0 CU",
    },
    Case {
        pattern: "poll_unchanged",
        fires: || reads(64, 5 * SECOND_MS),
        near: || reads(64, 61 * SECOND_MS),
        expect: "poll_empty warning avoidable: 53 calls, 4929 bytes, 0 ms, 53.0 CU",
    },
    Case {
        pattern: "n_plus_one",
        fires: || users(31, 15),
        near: || users(31, 5 * SECOND_MS),
        expect: "loop warning potential: 30 calls, 2640 bytes, 435 ms, 30.0 CU",
    },
    Case {
        pattern: "tiny_pages",
        fires: || pages(40),
        near: || pages(2100),
        expect: "small_limit warning potential: 12 calls, 1344 bytes, 0 ms, 12.0 CU",
    },
    Case {
        pattern: "chatty_writes",
        fires: || saves(24, 2 * SECOND_MS),
        near: || saves(24, 12_500),
        expect: "coalescable warning potential: 22 calls, 2794 bytes, 0 ms, 22.0 CU",
    },
    Case {
        pattern: "suboptimal_endpoint",
        fires: || profiles(22, 900),
        near: || profiles(22, 400),
        expect: "slow info potential: 0 calls, 0 bytes, 1200 ms, 0.0 CU",
    },
    Case {
        pattern: "missing_conditional",
        fires: || unchanged(7, "Accept: */*"),
        near: || unchanged(7, "If-None-Match: \"v0\""),
        expect: " warning avoidable: 0 calls, 1200000 bytes, 0 ms, 4.2 CU",
    },
    Case {
        pattern: "oversized_payload",
        fires: || lists("Content-Type: application/json"),
        near: || lists("Content-Type: image/png"),
        expect: "oversized_response warning potential: 0 calls, 27227136 bytes, 0 ms, 0.0 CU",
    },
    Case {
        pattern: "uncompressed_payload",
        fires: || configs("Vary: Origin"),
        near: || configs("Content-Encoding: gzip"),
        expect: "client_no_accept_encoding warning potential: 0 calls, 8120000 bytes, 0 ms, 0.0 CU",
    },
    Case {
        pattern: "connection_churn",
        fires: || one_each("Connection: close", "Server: x"),
        near: || one_each("Accept: */*", "Connection: close"),
        expect: "asks_to_close info avoidable: 0 calls, 0 bytes, 0 ms, 1.45 CU",
    },
    Case {
        pattern: "serial_waterfall",
        fires: || joins([300, 400, 200]),
        near: || joins([200, 200, 200]),
        expect: " info potential: 0 calls, 0 bytes, 500 ms, 0.0 CU",
    },
];

#[test]
fn each_pattern_is_found_with_its_number_and_its_near_miss_is_not() {
    let mut said = Vec::new();
    for Case { pattern, fires, near, .. } in CASES {
        let found = findings(pattern, "fires", fires);
        said.extend(of(&found, pattern).map(|finding| format!("{pattern}: {}", line(finding))));
        let found = findings(pattern, "near", near);
        said.extend(of(&found, pattern).map(|finding| format!("like {pattern}: {}", line(finding))));
    }
    let expect: Vec<String> = CASES.iter().map(|case| format!("{}: {}", case.pattern, case.expect)).collect();
    assert_eq!(said, expect, "each once, and none of what only looks like it");
}

#[test]
fn whoever_asks_for_what_an_answer_has_brought_has_to_wait_for_it() {
    let said = |what, made| {
        let found = findings("serial_waterfall", what, made);
        let checked = |finding: &Value| {
            let facts = &finding["evidence"]["facts"];
            format!("{}: {} checked, {} dependent", line(finding), facts["checked"], facts["dependent"])
        };
        of(&found, "serial_waterfall").map(checked).collect::<Vec<_>>()
    };
    let independent = " info potential: 0 calls, 0 bytes, 500 ms, 0.0 CU: 2 checked, 0 dependent";
    assert_eq!(said("independent", || chains(|_| 77_777)), [independent]);
    assert_eq!(said("dependent", || chains(|next| next)), [""; 0]);
}

#[test]
fn every_pattern_has_a_case() {
    let patterns = CASES.map(|case| case.pattern);
    assert_eq!(patterns, rotrace::detect::Pattern::ALL.map(rotrace::detect::Pattern::name));
}

/// What is found in a capture, each as it was told last; it is what stands beside the capture.
fn findings(pattern: &str, what: &str, made: fn() -> Traffic) -> Vec<Value> {
    let capture = path(pattern, what);
    if std::env::var_os("REGENERATE").is_some() {
        fs::create_dir_all(capture.parent().unwrap()).unwrap();
        fs::write(&capture, made().capture()).unwrap();
    }
    assert_eq!(fs::read(&capture).unwrap(), made().capture(), "{} is what is made here", capture.display());
    let mut last = BTreeMap::new();
    for line in crate::report(&capture).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["type"] == "finding" {
            let id = (line["pattern"].to_string(), line["started"].to_string(), line["id"].to_string());
            last.insert(id, line);
        }
    }
    let found: Vec<Value> = last.into_values().collect();
    let said: String = found.iter().map(|finding| format!("{finding}\n")).collect();
    let beside = capture.with_extension("json");
    if std::env::var_os("REGENERATE").is_some() {
        fs::write(&beside, &said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(&beside).unwrap(), "{}", beside.display());
    found
}

fn path(pattern: &str, what: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/detect");
    fixtures.join(format!("{pattern}_{what}.rotrace"))
}

fn of<'a>(found: &'a [Value], pattern: &str) -> impl Iterator<Item = &'a Value> {
    found.iter().filter(move |finding| finding["pattern"] == *pattern)
}

/// A finding as [`Case::expect`] has it.
fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    let number = |key: &str| finding["waste"][key]["expected"].as_u64().unwrap();
    let latency_ms = finding["latency_ns"].as_u64().unwrap() / 1_000_000;
    format!(
        "{} {} {}: {} calls, {} bytes, {latency_ms} ms, {} CU",
        text("kind"),
        text("severity"),
        text("class"),
        number("calls"),
        number("bytes"),
        finding["waste"]["cost_units"]["expected"],
    )
}

/// Of 24 searches, so many run into a timeout of 200 ms. The process lives on.
fn timeouts(count: u64) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..24 {
        let search = get(&format!("/v1/search?q={n}"));
        if n < count {
            traffic.give_up(n, n * 50_000, 200, &search);
        } else {
            traffic.call(n, n * 50_000, 150, &search);
        }
    }
    traffic
}

/// A read that fails, and again after each pause, and then does not.
fn failures(pauses_ms: &[u64]) -> Traffic {
    let mut traffic = Traffic::default();
    let failed = get("/v1/items/1").status("503 Service Unavailable");
    let mut at_ms = 0;
    for pause_ms in pauses_ms {
        traffic.call(0, at_ms, 10, &failed);
        at_ms += 10 + pause_ms;
    }
    traffic.call(0, at_ms, 10, &get("/v1/items/1"));
    traffic
}

/// Thirty events in half a minute, of which the last are too many.
fn rejected(count: u64) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..30 {
        let event = send("POST", "/v1/events", &format!("event {n:03}"));
        let event = if n < 30 - count { event } else { event.status("429 Too Many Requests") };
        traffic.call(0, n * SECOND_MS, 10, &event);
    }
    traffic
}

/// The same read that is forbidden, again and again.
fn refused(count: u64) -> Traffic {
    every(count, SECOND_MS, |_| get("/v1/items/1").status("403 Forbidden"))
}

/// So often an old address, and the new one that the server names.
fn redirected(count: u64) -> Traffic {
    let mut traffic = Traffic::default();
    let old = get("/old").status("301 Moved Permanently").says("Location: /new").answer("");
    for n in 0..count {
        traffic.call(0, n * 60_000, 10, &old).call(0, n * 60_000 + 15, 10, &get("/new"));
    }
    traffic
}

/// Reads of one thing that does not change.
fn reads(count: u64, every_ms: u64) -> Traffic {
    every(count, every_ms, |_| get("/v1/items/1").answer("the same"))
}

/// One read for each user.
fn users(count: u64, every_ms: u64) -> Traffic {
    every(count, every_ms, |n| get(&format!("/v1/users/{}", 100 + n)).answer(&format!("user {n:03}")))
}

/// A list in 24 pages of 30; another script has asked for 60 before.
fn pages(every_ms: u64) -> Traffic {
    let page =
        |query: &str, n: u64| get(&format!("/v1/groups/7/users?{query}")).answer(&format!("page {n:03}"));
    let mut traffic = Traffic::default();
    traffic.call(0, 0, 10, &page("limit=60", 0)).call(0, 10 * SECOND_MS, 10, &page("limit=30", 1));
    for n in 1..24 {
        let page = page(&format!("limit=30&cursor=c{n}"), n + 1);
        traffic.call(0, 10 * SECOND_MS + n * every_ms, 10, &page);
    }
    traffic
}

/// The data of one player is saved, each time another.
fn saves(count: u64, every_ms: u64) -> Traffic {
    every(count, every_ms, |n| send("PATCH", "/v2/stores/7/entries/5", &format!("save {n:03}")))
}

/// Profiles of players, each of which takes so long.
fn profiles(count: u64, lasting_ms: u64) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..count {
        traffic.call(0, n * 7777 + n * n * 300, lasting_ms, &get(&format!("/v1/profiles/{}", 100 + n)));
    }
    traffic
}

/// A large thing that has not changed, each minute.
fn unchanged(count: u64, field: &str) -> Traffic {
    every(count, 61 * SECOND_MS, |_| get("/v1/items/1").with(field).says("ETag: \"v1\"").large(200_000))
}

/// A list of 1.2 MB, compressed.
fn lists(content: &str) -> Traffic {
    every(24, 10 * SECOND_MS, |n| {
        let list = get(&format!("/v1/items?q={n}")).says(content).says("Content-Encoding: gzip");
        list.answer(&format!("list {n:03}")).large(1_200_000)
    })
}

/// Text of 290 kB.
fn configs(field: &str) -> Traffic {
    every(40, 10 * SECOND_MS, |n| {
        let config = get(&format!("/v1/config?q={n}")).says("Content-Type: application/json").says(field);
        config.answer(&format!("config {n:03}")).large(290_000)
    })
}

/// A connection for each call; one of the two says that it ends.
fn one_each(field: &str, says: &str) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..30 {
        let asked = send("POST", "/v1/scores", &format!("score {n:03}")).with(field).says(says);
        traffic.call(n, n * SECOND_MS, 10, &asked).close(n, n * SECOND_MS + 20);
    }
    traffic
}

/// A player joins, five times a minute apart: one call after the other, with these durations.
fn joins(lasting_ms: [u64; 3]) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..5 {
        let mut at_ms = n * 60_000;
        let paths = ["profiles", "inventories", "badges"].map(|what| format!("/v1/{what}/{}", 100 + n));
        for (path, lasting_ms) in paths.iter().zip(lasting_ms) {
            traffic.call(0, at_ms, lasting_ms, &get(path));
            at_ms += lasting_ms + 2;
        }
    }
    traffic.call(0, 301_000, 10, &get("/v1/other"));
    traffic
}

/// The same with an id of its own for each call; what an answer brings, `brings` says of the id that is asked for next.
fn chains(brings: fn(u64) -> u64) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..5 {
        let mut at_ms = n * 60_000;
        for (place, (what, lasting_ms)) in (1..).zip([("sessions", 300), ("profiles", 400), ("badges", 200)])
        {
            let id = |place: u64| place * 1_000_000 + n;
            let body = format!(r#"{{"id":{},"team":"red"}}"#, brings(id(place + 1)));
            let asked = get(&format!("/v1/{what}/{}", id(place))).says("Content-Type: application/json");
            traffic.call(0, at_ms, lasting_ms, &asked.answer(&body));
            at_ms += lasting_ms + 2;
        }
    }
    traffic.call(0, 301_000, 10, &get("/v1/other"));
    traffic.with_bodies()
}

/// Calls on one connection at an even pace, of 10 ms each.
fn every(count: u64, every_ms: u64, asked: impl Fn(u64) -> Asked) -> Traffic {
    let mut traffic = Traffic::default();
    for n in 0..count {
        traffic.call(0, n * every_ms, 10, &asked(n));
    }
    traffic
}
