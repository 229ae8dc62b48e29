//! Given: planned calls. Gives: what each game is told to call and when, and what the platform is told to answer, one line of
//! JSON each. Refuses to know: who reads it.
//!
//! A plan says when a call begins. Real answers take a little longer than planned ones, so a call that the plan lets follow an
//! answer follows the real one, after the planned pause; any other begins when it is due.

use std::collections::BTreeMap;

use rotrace::exchange::signals::{Content, RateLimit};
use serde_json::{Map, Value, json};

use crate::lab::plan::{Keep, MS, Planned, content_type};

/// A call that begins so soon after an answer to the same task waits for it.
const FOLLOWS_NS: u64 = 1_200 * MS;

/// The lines of one game, in the order in which calls begin; `calls` are all calls of the plan, by their number.
pub(super) fn of_game(calls: &[Planned], process: u32) -> Vec<Value> {
    let mut last: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
    let own = calls.iter().enumerate().filter(|(_, call)| call.process == process);
    let line = |(number, call): (usize, &Planned)| {
        let before = last.insert(call.task, (number, call.end_ns()));
        let pause = |&(_, end_ns): &(usize, u64)| call.start_ns.checked_sub(end_ns);
        let waits = before.filter(|before| pause(before).is_some_and(|pause_ns| pause_ns <= FOLLOWS_NS));
        json!({
            "n": number, "at_ns": call.start_ns, "after": waits.map(|(before, _)| before),
            "pause_ns": waits.as_ref().and_then(pause), "method": call.api.terms().method,
            "authority": call.api.authority(), "target": call.target, "headers": asked_fields(number, call),
            "body_bytes": call.ask.body_bytes, "body": call.ask.body.to_string(),
            "gives_up_ns": call.ask.gives_up_ns, "may_fail": call.is_uncertain(),
        })
    };
    own.map(line).collect()
}

/// What the platform answers to a call.
pub(super) fn answer(number: usize, call: &Planned) -> Value {
    json!({
        "n": number, "status": call.reply.status, "first_byte_ns": call.reply.first_byte_ns,
        "headers": answered_fields(call), "body_bytes": call.reply.body_bytes, "body": call.reply.body.to_string(),
        "brings": call.reply.brings,
    })
}

fn asked_fields(number: usize, call: &Planned) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: String| fields.insert(name.to_owned(), Value::from(value));
    set("X-Lab-Call", number.to_string());
    set("Accept-Encoding", if call.ask.accepts_coding { "gzip" } else { "identity" }.to_owned());
    if call.ask.body_bytes > 0 {
        set("Content-Type", "application/json".to_owned());
    }
    if call.ask.credentials > 0 {
        set("Authorization", format!("Bearer {:016x}", call.ask.credentials));
    }
    if call.ask.is_conditional {
        set("If-None-Match", etag(call));
    }
    if call.ask.keep == Keep::ClosedByClient {
        set("Connection", "close".to_owned());
    }
    fields
}

fn answered_fields(call: &Planned) -> Map<String, Value> {
    let reply = &call.reply;
    let mut fields = Map::new();
    let mut set = |name: &str, value: String| fields.insert(name.to_owned(), Value::from(value));
    if reply.content != Content::Unknown {
        set("Content-Type", content_type(reply.content).unwrap_or_default().to_owned());
    }
    if reply.is_coded {
        set("Content-Encoding", "gzip".to_owned());
    }
    if reply.has_etag {
        set("ETag", etag(call));
    }
    match reply.max_age_s {
        Some(max_age_s) => {
            set("Cache-Control", format!("max-age={max_age_s}"));
        }
        None if reply.no_store => {
            set("Cache-Control", "no-store".to_owned());
        }
        None => {}
    }
    if let Some(retry_after_s) = reply.retry_after_s {
        set("Retry-After", retry_after_s.to_string());
    }
    if let Some(RateLimit { limit, remaining, reset_s }) = reply.rate_limit {
        set("X-RateLimit-Limit", limit.to_string());
        set("X-RateLimit-Remaining", remaining.to_string());
        if let Some(reset_s) = reset_s {
            set("X-RateLimit-Reset", reset_s.to_string());
        }
    }
    if let Some((authority, target)) = &reply.location {
        set("Location", format!("https://{authority}{target}"));
    }
    if reply.is_deprecated {
        // Some time ago (RFC 9745 §2).
        set("Deprecation", "@1688169599".to_owned());
    }
    fields
}

fn etag(call: &Planned) -> String {
    format!("\"{:016x}\"", call.reply.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::api::Api;
    use crate::lab::plan::{Intensity, SECOND};
    use crate::lab::random::Random;
    use crate::lab::scene::Scene;
    use crate::lab::world::{Profile, World};

    /// Calls of one task: when each begins and how long it takes, in milliseconds; and which waits for which, how long.
    fn check(times_ms: &[(u64, u64)], expect: &[Option<(u64, u64)>]) {
        let world = World::new(1, Profile::Small, 60 * SECOND);
        let mut scene = Scene::new(&world, ("S0", 1, 0), (0, 0), Intensity::Clear, Random::of(1, &[]));
        let calls: Vec<Planned> = times_ms
            .iter()
            .map(|&(start_ms, time_ms)| {
                let mut call = scene.call(Api::USER, &[&7], start_ms * MS);
                (call.reply.first_byte_ns, call.reply.body_bytes) = (time_ms * MS, 0);
                call
            })
            .collect();
        let waits: Vec<Option<(u64, u64)>> = of_game(&calls, 0)
            .iter()
            .map(|line| Some((line["after"].as_u64()?, line["pause_ns"].as_u64()? / MS)))
            .collect();
        assert_eq!(waits, expect);
    }

    #[test]
    fn a_call_follows_the_answer_that_it_waited_for() {
        check(&[(0, 20), (25, 20), (95, 10)], &[None, Some((0, 5)), Some((1, 50))]);
        // At once, and long after: when it is due.
        check(&[(0, 20), (3, 20), (5_000, 20)], &[None, None, None]);
    }

    #[test]
    fn fields_say_what_the_plan_says() {
        let world = World::new(1, Profile::Small, 60 * SECOND);
        let mut scene = Scene::new(&world, ("S0", 1, 0), (0, 0), Intensity::Clear, Random::of(1, &[]));
        let mut call = scene.call(Api::CONFIG, &[&7], 0);
        (call.reply.has_etag, call.reply.max_age_s, call.reply.retry_after_s) = (true, Some(30), Some(5));
        (call.ask.is_conditional, call.ask.keep, call.reply.body) = (true, Keep::ClosedByClient, 255);
        let asked = asked_fields(3, &call);
        assert_eq!((&asked["X-Lab-Call"], &asked["Connection"]), (&json!("3"), &json!("close")));
        let answered = answered_fields(&call);
        assert_eq!(
            (&answered["ETag"], &asked["If-None-Match"]),
            (&asked["If-None-Match"], &json!("\"00000000000000ff\""))
        );
        assert_eq!(
            (&answered["Cache-Control"], &answered["Retry-After"]),
            (&json!("max-age=30"), &json!("5"))
        );
    }
}
