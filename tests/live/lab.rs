//! Given: the lab's plan of a few seconds, played by requests, httpx and Node over sockets and TLS. Gives: proof that each call of
//! the plan is seen once, in its game and at its endpoint, and that what is wasted is found. Refuses to know: how the lab plays
//! and scores.

use std::process::Command;

use serde_json::Value;

use crate::needs;
use crate::process::Running;

/// The score of a play. The lab fails where a call was not seen, or seen otherwise than it was made.
fn play(seconds: u32, scenarios: &str) -> Value {
    // However long it takes to build, that is no part of the play.
    let built = Command::new(needs::cargo()).args(["build", "--quiet", "--package=xtask"]).status().unwrap();
    assert!(built.success(), "xtask cannot be built");
    let mut command = Command::new(needs::cargo());
    command.args(["run", "--quiet", "--package=xtask", "--", "lab", "live", "--young", "--json"]);
    command.arg(format!("--for={seconds}s")).arg(format!("--only={scenarios}"));
    command.arg(format!("--daemon={}", needs::rotrace().display()));
    let lines = Running::start(command).succeeded();
    serde_json::from_str(lines.last().unwrap()).unwrap()
}

#[test]
fn a_plan_of_a_few_seconds_is_seen_call_by_call_and_its_waste_is_found() {
    let score = play(8, "S1,S14,S24,B3");
    let found = |pattern: &str| {
        let own = score["patterns"].as_array().unwrap().iter().find(|own| own["pattern"] == pattern).unwrap();
        (own["recall"]["clear"]["value"].as_f64(), own["waste"]["bias"].as_f64())
    };
    for pattern in ["n_plus_one", "error_loop", "tiny_pages"] {
        let (recall, bias) = found(pattern);
        assert_eq!(recall, Some(1.0), "{pattern} of {score}");
        assert!(bias.is_some_and(|bias| (0.8..1.2).contains(&bias)), "{pattern} of {score}");
    }
    assert_eq!(score["look_alikes"][0]["claims"], serde_json::json!([]), "{score}");
}
