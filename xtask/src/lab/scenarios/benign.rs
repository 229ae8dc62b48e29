//! Given: a scene. Gives: traffic that looks like waste and is none, of the kinds that every game has. Refuses to know:
//! detectors.

use super::{Row, benign};
use crate::lab::api::Api;
use crate::lab::plan::{MS, SECOND};
use crate::lab::scene::{Scene, version};

pub(super) const ROWS: &[Row] = &[
    benign("B1", "large pages, one after the other", &[Api::MEMBERS], large_pages),
    benign("B2", "a lobby joins, one look-up each", &[Api::USER], lobby),
    benign("B3", "batches with different bodies", &[Api::USERS], batches),
    benign("B4", "polls of 30 s and more that are answered 304", &[Api::CONFIG], polite_poll),
    benign("B5", "heartbeats", &[Api::HEARTBEAT], heartbeats),
    benign("B6", "reads of a queue that wait for something", &[Api::QUEUE], long_polls),
    benign("B7", "back-off with jitter that honours Retry-After", &[Api::PROFILE], back_off),
    benign("B8", "one retry behind a reset", &[Api::BAG], one_retry),
    benign("B9", "hedged requests", &[Api::BADGE], hedged),
    benign("B10", "a save each minute for each player", &[Api::SAVE], saves),
    benign("B11", "a save of everybody at the end", &[Api::SAVE], save_all),
    benign("B12", "whether a new player is known", &[Api::ENTRY], probes),
    benign("B13", "a token that has to be renewed", &[Api::TOKEN, Api::TROPHIES], renewed_token),
];

fn large_pages(scene: &mut Scene<'_>) {
    for listing in 0..3 {
        scene.new_task();
        let of = scene.id();
        let mut now_ns = scene.begin_ns + scene.apart(listing * 120 * SECOND);
        for page in 0..8 {
            let query =
                if page == 0 { "limit=100".to_owned() } else { format!("limit=100&cursor=c{of}x{page}") };
            let call = scene.query(Api::MEMBERS, &[&of], &query, now_ns);
            now_ns = scene.send(call) + 3 * MS;
        }
    }
}

fn lobby(scene: &mut Scene<'_>) {
    for _ in 0..12 {
        scene.new_task();
        let (id, at_ns) = (scene.id(), scene.begin_ns + scene.random.below(0..300 * MS));
        let call = scene.call(Api::USER, &[&id], at_ns);
        scene.send(call);
    }
}

fn batches(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    for _ in 0..6 {
        let call = scene.call(Api::USERS, &[], now_ns);
        now_ns = scene.send(call) + 5 * MS;
    }
}

fn polite_poll(scene: &mut Scene<'_>) {
    let interval_s = scene.random.between(31.0, 40.0);
    let id = scene.id();
    for round in 0..14 {
        let at_ns = scene.begin_ns + (f64::from(round) * interval_s * 1e9) as u64;
        let mut call = scene.call(Api::CONFIG, &[&id], at_ns);
        call.reply.has_etag = true;
        if round > 0 {
            call.ask.is_conditional = true;
            call.reply.status = 304;
            call.reply.body_bytes = 0;
        }
        scene.send(call);
    }
}

fn heartbeats(scene: &mut Scene<'_>) {
    let id = scene.id();
    for beat in 0..90 {
        let call = scene.call(Api::HEARTBEAT, &[&id], scene.begin_ns + beat * 5 * SECOND);
        scene.send(call);
    }
}

fn long_polls(scene: &mut Scene<'_>) {
    let (universe, queue) = (scene.universe(), format!("orders-{}", scene.id()));
    let mut now_ns = scene.begin_ns;
    for _ in 0..20 {
        let mut call = scene.query(Api::QUEUE, &[&universe, &queue], "waitTimeout=20", now_ns);
        // Mostly nothing comes, and the server says so when the time is over.
        call.reply.first_byte_ns =
            if scene.random.chance(0.8) { 20 * SECOND } else { scene.random.below(SECOND..20 * SECOND) };
        now_ns = scene.send(call) + 4 * MS;
    }
}

fn back_off(scene: &mut Scene<'_>) {
    for chain in 0..5 {
        scene.new_task();
        let id = scene.id();
        let mut now_ns = scene.begin_ns + scene.apart(chain * 80 * SECOND);
        for attempt in 0..4 {
            let mut call = scene.call(Api::PROFILE, &[&id], now_ns);
            let pause_s = 2.0 * f64::powi(2.0, attempt) * scene.random.between(1.0, 1.3);
            if attempt < 3 {
                call.reply.status = if attempt == 0 { 429 } else { 503 };
                call.reply.retry_after_s = (attempt == 0).then_some(2);
                call.reply.body_bytes = 80;
                call.reply.first_byte_ns = 8 * MS;
            }
            now_ns = scene.send(call) + (pause_s * 1e9) as u64;
        }
    }
}

fn one_retry(scene: &mut Scene<'_>) {
    for round in 0..6 {
        scene.new_task();
        let id = scene.id();
        let pause_ns = round * 45 * SECOND + scene.random.below(0..20 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        let mut reset = scene.call(Api::BAG, &[&id], begin_ns);
        reset.reply.status = 0;
        reset.reply.body_bytes = 0;
        reset.reply.first_byte_ns = 15 * MS;
        let end_ns = scene.send(reset);
        let again = scene.call(Api::BAG, &[&id], end_ns + 3 * MS);
        scene.send(again);
    }
}

fn hedged(scene: &mut Scene<'_>) {
    for round in 0..15 {
        scene.new_task();
        let id = scene.id();
        let pause_ns = round * 25 * SECOND + scene.random.below(0..10 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        // The first is slow, the second overtakes it and the first is given up.
        let mut first = scene.call(Api::BADGE, &[&id], begin_ns);
        first.reply.first_byte_ns = 400 * MS;
        let second = scene.call(Api::BADGE, &[&id], begin_ns + 95 * MS);
        first.ask.gives_up_ns = Some(second.end_ns() - begin_ns);
        scene.send(first);
        scene.send(second);
    }
}

fn saves(scene: &mut Scene<'_>) {
    let universe = scene.universe();
    for _ in 0..12 {
        scene.new_task();
        let key = format!("player-{}", scene.id());
        let first_ns = scene.random.below(0..60 * SECOND);
        for round in 0..7 {
            let at_ns = scene.begin_ns + first_ns + round * 60 * SECOND;
            let call = scene.call(Api::SAVE, &[&universe, &"players", &key], at_ns);
            scene.send(call);
        }
    }
}

fn save_all(scene: &mut Scene<'_>) {
    let universe = scene.universe();
    let mut now_ns = scene.begin_ns;
    for _ in 0..25 {
        let key = format!("player-{}", scene.id());
        let call = scene.call(Api::SAVE, &[&universe, &"players", &key], now_ns);
        scene.send(call);
        now_ns += 20 * MS;
    }
}

fn probes(scene: &mut Scene<'_>) {
    let universe = scene.universe();
    let mut now_ns = scene.begin_ns;
    for _ in 0..20 {
        scene.new_task();
        let key = format!("player-{}", scene.id());
        let mut call = scene.call(Api::ENTRY, &[&universe, &"invites", &key], now_ns);
        call.reply.status = 404;
        call.reply.body_bytes = 60;
        scene.send(call);
        now_ns += SECOND + (scene.random.exponential(18.0) * 1e9) as u64;
    }
}

fn renewed_token(scene: &mut Scene<'_>) {
    for round in 0..6 {
        scene.new_task();
        let id = scene.id() % 10;
        let pause_ns = round * 70 * SECOND + scene.random.below(0..10 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        let mut refused = scene.call(Api::TROPHIES, &[&id], begin_ns);
        refused.ask.credentials = 5_000 + round;
        refused.reply.status = 401;
        refused.reply.body_bytes = 50;
        refused.reply.first_byte_ns = 10 * MS;
        let end_ns = scene.send(refused);
        let renewal = scene.call(Api::TOKEN, &[], end_ns + 2 * MS);
        let end_ns = scene.send(renewal);
        let mut again = scene.call(Api::TROPHIES, &[&id], end_ns + 2 * MS);
        again.ask.credentials = 5_001 + round;
        version(&mut again, 30 * SECOND);
        scene.send(again);
    }
}
