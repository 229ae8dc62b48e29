//! Given: a scene. Gives: writes that could be one, and what concerns a fleet rather than a host. Refuses to know:
//! thresholds beyond the three intensities.

use rotrace::detect::Pattern;

use super::{Row, benign, scenario};
use crate::lab::api::Api;
use crate::lab::plan::{MS, SECOND};
use crate::lab::scene::Scene;

/// One write of a key in this time is enough.
const SAVE_S: f64 = 30.0;

/// Events of one batch.
const EVENTS_MAX: f64 = 100.0;

pub(super) const ROWS: &[Row] = &[
    scenario("S20", "the same key saved every 2 s", &[Api::SAVE], coalescable),
    scenario("S21", "a request for each event", &[Api::TRACK], unbatched),
    // Those that concern a fleet are waste of no single process: on one host they are look-alikes.
    benign("S22", "a ranking refreshed at the full minute (fleet)", &[Api::RANKING], at_the_minute),
    benign("S23", "eight times the calls of a peer (fleet)", &[Api::EXPERIMENT], many_calls),
    benign("S29", "warm-up of caches behind a restart (fleet)", &[Api::CONFIG, Api::DOCUMENT], warm_up),
];

fn coalescable(scene: &mut Scene<'_>) {
    let interval_s = scene.draw([(1.8, 2.4), (6.0, 8.0), (19.0, 24.0)]);
    let players = scene.level([4, 2, 2]);
    let length_s = scene.lasting(300.0);
    let universe = scene.universe();
    let keys: Vec<String> = (0..players).map(|_| format!("player-{}", scene.id())).collect();
    let mut wasted = 0.0;
    let mut kept = Vec::new();
    for key in &keys {
        scene.new_task();
        let mut now_s = scene.random.between(0.0, 2.0);
        let (mut writes, mut saved) = (0.0, None);
        while now_s < length_s {
            let at_ns = scene.begin_ns + (now_s * 1e9) as u64;
            let call = scene.call(Api::SAVE, &[&universe, &"players", key], at_ns);
            scene.send(call);
            writes += 1.0;
            // One in each half minute remains.
            let half_minute = Some((now_s / SAVE_S) as u64);
            kept.push(half_minute != saved);
            saved = half_minute;
            now_s += interval_s * scene.random.between(0.95, 1.05);
        }
        wasted += (writes - (length_s / SAVE_S).ceil()).max(0.0);
    }
    scene.episode(Pattern::ChattyWrites, Api::SAVE, wasted, |index, _| !kept[index]);
}

fn unbatched(scene: &mut Scene<'_>) {
    let per_second = scene.draw([(9.0, 12.0), (3.0, 4.0), (0.5, 0.8)]);
    let length_ns = scene.apart(120 * SECOND);
    let mut now_ns = scene.begin_ns;
    while now_ns < scene.begin_ns + length_ns {
        let mut call = scene.call(Api::TRACK, &[], now_ns);
        call.ask.body_bytes = scene.random.below(250..350) as u32;
        scene.send(call);
        now_ns += (scene.random.between(0.6, 1.4) / per_second * 1e9) as u64;
    }
    let count = scene.calls.len() as f64;
    let wasted = count - (count / EVENTS_MAX).ceil();
    scene.episode(Pattern::ChattyWrites, Api::TRACK, wasted, |index, _| index % EVENTS_MAX as usize > 0);
}

fn at_the_minute(scene: &mut Scene<'_>) {
    let universe = scene.universe();
    for minute in 1..9 {
        let at_ns = (scene.begin_ns / (60 * SECOND) + minute) * 60 * SECOND + scene.random.below(0..300 * MS);
        let mut call = scene.query(Api::RANKING, &[&universe, &"wins"], "maxPageSize=100", at_ns);
        call.reply.body = scene.random.next();
        scene.send(call);
    }
}

fn many_calls(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    while now_ns < scene.begin_ns + 420 * SECOND {
        let id = scene.id();
        let call = scene.call(Api::EXPERIMENT, &[&id], now_ns);
        scene.send(call);
        // Players do things when they do them: in no burst, at no pace.
        now_ns += (scene.random.exponential(5.0) * 1e9) as u64 + 2 * SECOND;
    }
}

fn warm_up(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    for index in 0..8 {
        let id = scene.id();
        let api = if index % 2 == 0 { Api::CONFIG } else { Api::DOCUMENT };
        let call = scene.call(api, &[&id], now_ns);
        now_ns = scene.send(call) + 3 * MS;
    }
}
