//! Given: a server for a while. Gives: what it calls anyhow: look-ups of players who join, saves, what players do, presence,
//! events in batches. Refuses to know: scenarios.

use std::ops::Range;

use crate::lab::api::Api;
use crate::lab::plan::{MS, SECOND};
use crate::lab::random::Random;
use crate::lab::scene::{Scene, version};
use crate::lab::world::Session;

/// A player's data is saved so often.
const SAVE_NS: u64 = 60 * SECOND;

/// A player does something that calls an API so often, on average.
const ACTION_S: f64 = 25.0;

/// What players do, and how often of a hundred times.
const ACTIONS: [(Api, u64); 6] = [
    (Api::BADGE, 25),
    (Api::INVENTORY, 15),
    (Api::SHOP, 25),
    (Api::PROFILE, 15),
    (Api::PURCHASE, 8),
    (Api::LISTING, 12),
];

/// What is repeated for each server, and how often in seconds.
const ROUTINES: [(Api, u64); 6] = [
    (Api::PRESENCE, 40),
    (Api::TRACK_MANY, 30),
    (Api::HEARTBEAT, 30),
    (Api::RANKING, 90),
    (Api::CONFIG, 300),
    (Api::PUBLISH, 70),
];

/// What a server calls in that time. The scene is empty.
pub(crate) fn background(scene: &mut Scene<'_>, times_ns: Range<u64>) {
    let process = scene.world.process(scene.process);
    for (index, session) in process.sessions.iter().enumerate() {
        if session.join_ns.is_none_or(|join_ns| join_ns < times_ns.end) && session.leave_ns >= times_ns.start
        {
            of_player(scene, index as u64, session, &times_ns);
        }
    }
    routines(scene, &times_ns);
}

fn of_player(scene: &mut Scene<'_>, index: u64, session: &Session, times_ns: &Range<u64>) {
    let universe = scene.universe();
    let Session { player, join_ns, leave_ns } = *session;
    // What a player does in a while hangs on the player and the while alone.
    let names = [9, u64::from(scene.process), index, times_ns.start];
    scene.random = Random::of(scene.world.seed, &names);
    let key = format!("player-{player}");
    if let Some(join_ns) = join_ns.filter(|join_ns| times_ns.contains(join_ns)) {
        scene.new_task();
        let call = scene.call(Api::USER, &[&player], join_ns);
        let end_ns = scene.send(call);
        let call = scene.call(Api::ENTRY, &[&universe, &"players", &key], end_ns + 2 * MS);
        scene.send(call);
    }
    let is_there = |at_ns: u64| at_ns < leave_ns && times_ns.contains(&at_ns);
    // Of those who were there already nobody knows since when.
    let since_ns = join_ns.unwrap_or(player % SAVE_NS);
    let first_save = times_ns.start.saturating_sub(since_ns).div_ceil(SAVE_NS).max(1);
    let mut save_ns = since_ns + first_save * SAVE_NS;
    while is_there(save_ns) {
        scene.new_task();
        let call = scene.call(Api::SAVE, &[&universe, &"players", &key], save_ns);
        scene.send(call);
        save_ns += SAVE_NS;
    }
    // A player who leaves right behind a save need not be saved again.
    if times_ns.contains(&leave_ns) {
        scene.new_task();
        let call = scene.call(Api::SAVE, &[&universe, &"players", &key], leave_ns);
        scene.send(call);
    }
    let mean_s = ACTION_S / scene.world.game(scene.process).busyness;
    let mut now_ns =
        times_ns.start.max(join_ns.unwrap_or(0)) + (scene.random.exponential(mean_s) * 1e9) as u64;
    while is_there(now_ns) {
        act(scene, now_ns);
        now_ns += (scene.random.exponential(mean_s) * 1e9) as u64;
    }
}

fn act(scene: &mut Scene<'_>, at_ns: u64) {
    scene.new_task();
    let mut draw = scene.random.below(0..100);
    let action = ACTIONS.iter().find(|(_, share)| {
        let is_it = draw < *share;
        draw = draw.saturating_sub(*share);
        is_it
    });
    let Some(&(api, _)) = action else { return };
    let id = scene.id();
    let mut call = match api {
        Api::INVENTORY => scene.query(api, &[&id], "maxPageSize=100", at_ns),
        _ => scene.call(api, &[&id], at_ns),
    };
    if api == Api::LISTING {
        call.reply.body_bytes = scene.random.log_normal(20_000.0, 0.3) as u32;
    }
    scene.send(call);
}

fn routines(scene: &mut Scene<'_>, times_ns: &Range<u64>) {
    let universe = scene.universe();
    scene.random = Random::of(scene.world.seed, &[8, u64::from(scene.process), times_ns.start]);
    for (index, (api, every_s)) in ROUTINES.into_iter().enumerate() {
        let every_ns = every_s * SECOND;
        let phase =
            Random::of(scene.world.seed, &[7, u64::from(scene.process), index as u64]).below(0..every_ns);
        let mut at_ns = times_ns.start.saturating_sub(phase).div_ceil(every_ns) * every_ns + phase;
        while times_ns.contains(&at_ns) {
            scene.new_task();
            // Schedulers are late by a little.
            let at = at_ns + scene.random.below(0..30 * MS);
            let mut call = match api {
                Api::RANKING => scene.query(api, &[&universe, &"coins"], "maxPageSize=100", at),
                _ => scene.call(api, &[&universe], at),
            };
            match api {
                // Somebody always wins something.
                Api::RANKING => version(&mut call, 45 * SECOND),
                Api::CONFIG => {
                    call.reply.has_etag = true;
                    call.ask.is_conditional = true;
                    call.reply.status = 304;
                    call.reply.body_bytes = 0;
                }
                _ => {}
            }
            scene.send(call);
            at_ns += every_ns;
        }
    }
}
