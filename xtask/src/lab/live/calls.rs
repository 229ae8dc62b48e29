//! Given: planned calls, and calls that were seen. Gives: which of them were not seen, and what was seen and is in no plan, or
//! in another place of it. Refuses to know: who saw them.
//!
//! No call has a number that could be seen, so calls are compared by all that can be: a call that was seen twice, or as that of
//! another game or endpoint, is one too many and one too few.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::lab::plan::Planned;
use crate::lab::world::World;

/// Calls that are shown of those that differ.
const SHOWN: usize = 10;

/// All that both the plan and a witness know of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    game: String,
    method: String,
    endpoint: String,
    path: String,
    /// `None` where the client gave up or the connection ended: what had come by then, nobody planned.
    answer: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    status: Option<u64>,
    request_body_bytes: Option<u64>,
    response_body_bytes: Option<u64>,
    is_complete: bool,
}

/// How far what was seen is what was planned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) equal: u64,
    pub(super) missing: Vec<String>,
    pub(super) invented: Vec<String>,
}

impl Differences {
    /// `not_served` are numbers of planned calls that were given up before they came to the platform: whether anything of them
    /// was sent, nobody knows.
    pub(super) fn of(planned: &[Planned], not_served: &[usize], world: &World, seen: &[Value]) -> Self {
        let mut left: BTreeMap<Known, i64> = BTreeMap::new();
        let mut uncertain: BTreeMap<Known, i64> = BTreeMap::new();
        let mut perhaps: BTreeMap<Known, i64> = BTreeMap::new();
        for (number, call) in planned.iter().enumerate() {
            let known = Known::planned(call, world);
            let of = match known.answer {
                None if not_served.contains(&number) => &mut perhaps,
                None => &mut uncertain,
                Some(_) => &mut left,
            };
            *of.entry(known).or_default() += 1;
        }
        let mut differences = Differences::default();
        for call in seen {
            let whole = Known::seen(call);
            let without = Known { answer: None, ..whole.clone() };
            let planned = [left.get_mut(&whole), uncertain.get_mut(&without), perhaps.get_mut(&without)];
            match planned.into_iter().flatten().find(|count| **count > 0) {
                Some(count) => {
                    *count -= 1;
                    differences.equal += 1;
                }
                None => differences.invented.push(format!("{whole:?}")),
            }
        }
        for (known, count) in left.into_iter().chain(uncertain) {
            (0..count).for_each(|_| differences.missing.push(format!("{known:?}")));
        }
        differences
    }

    pub(super) fn is_none(&self) -> bool {
        self.missing.is_empty() && self.invented.is_empty()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Differences { equal, missing, invented } = self;
        let mut text = format!("{equal} calls seen as they were made");
        for (what, calls) in [("not seen", missing), ("not made so", invented)] {
            if !calls.is_empty() {
                text += &format!("; {} {what}:", calls.len());
                calls.iter().take(SHOWN).for_each(|call| text += &format!("\n  {call}"));
            }
        }
        text
    }
}

impl Known {
    fn planned(call: &Planned, world: &World) -> Self {
        let terms = call.api.terms();
        let answer = Answer {
            status: Some(call.reply.status.into()),
            request_body_bytes: Some(call.ask.body_bytes.into()),
            response_body_bytes: Some(call.reply.body_bytes.into()),
            is_complete: true,
        };
        Known {
            game: world.game(call.process).name.clone(),
            method: terms.method.to_owned(),
            endpoint: terms.endpoint.to_owned(),
            path: call.target.split('?').next().unwrap_or_default().to_owned(),
            answer: (!call.is_uncertain()).then_some(answer),
        }
    }

    fn seen(call: &Value) -> Self {
        let text = |key: &str| call[key].as_str().unwrap_or("?").to_owned();
        Known {
            game: text("game"),
            method: text("method"),
            endpoint: text("endpoint"),
            path: text("path"),
            answer: Some(Answer {
                status: call["status"].as_u64(),
                request_body_bytes: call["request_body_bytes"].as_u64(),
                response_body_bytes: call["response_body_bytes"].as_u64(),
                is_complete: call["complete"] == true,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lab::api::Api;
    use crate::lab::plan::{Intensity, SECOND};
    use crate::lab::random::Random;
    use crate::lab::scene::Scene;
    use crate::lab::world::Profile;

    /// Two calls are planned, of which the second may be given up; what is seen of them, and how many are equal, missing
    /// and invented.
    fn check(change: impl Fn(&mut Vec<Value>), expect: (u64, usize, usize)) {
        check_served(&[], change, expect);
    }

    fn check_served(not_served: &[usize], change: impl Fn(&mut Vec<Value>), expect: (u64, usize, usize)) {
        let world = World::new(1, Profile::Small, 60 * SECOND);
        let mut scene = Scene::new(&world, ("S0", 1, 0), (0, 0), Intensity::Clear, Random::of(1, &[]));
        let whole = scene.query(Api::USER, &[&7], "page=2", 0);
        let mut given_up = scene.call(Api::REPORT, &[&8], 0);
        given_up.ask.gives_up_ns = Some(5);
        let mut seen = vec![
            json!({
                "game": "game-01", "method": "GET", "endpoint": "users.roblox.com/v1/users/{id}", "path": "/v1/users/7",
                "status": 200, "request_body_bytes": 0, "response_body_bytes": 310, "complete": true,
            }),
            json!({
                "game": "game-01", "method": "GET", "endpoint": "reports.games.test/v1/reports/{id}",
                "path": "/v1/reports/8", "status": null, "complete": false,
            }),
        ];
        change(&mut seen);
        let Differences { equal, missing, invented } =
            Differences::of(&[whole, given_up], not_served, &world, &seen);
        assert_eq!((equal, missing.len(), invented.len()), expect);
    }

    #[test]
    fn calls_are_the_same_or_are_not() {
        check(|_| {}, (2, 0, 0));
        check(|seen| drop(seen.pop()), (1, 1, 0));
        check(|seen| seen.push(seen[0].clone()), (2, 0, 1));
        check(|seen| seen[0]["game"] = json!("game-02"), (1, 1, 1));
        check(|seen| seen[0]["response_body_bytes"] = json!(311), (1, 1, 1));
        check(|seen| seen[1]["status"] = json!(200), (2, 0, 0));
        check(|seen| seen[1]["path"] = json!("/v1/reports/9"), (1, 1, 1));
        // What was given up before it was served may have been sent or not.
        check_served(&[1], |_| {}, (2, 0, 0));
        check_served(&[1], |seen| drop(seen.pop()), (1, 0, 0));
    }
}
