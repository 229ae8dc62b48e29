//! Given: a scene. Gives: calls whose way is the waste: connections, redirects, bodies, waiting. Refuses to know: thresholds
//! beyond the three intensities.

use rotrace::detect::Pattern;

use super::{Row, scenario};
use crate::lab::api::Api;
use crate::lab::plan::{Keep, MS, SECOND};
use crate::lab::scene::Scene;

/// What of a text is left when it is compressed.
const COMPRESSED: f64 = 0.3;

/// A body up to this size is nobody's concern.
const SIZE_CAP_BYTES: f64 = 65_536.0;

pub(super) const ROWS: &[Row] = &[
    scenario("S16", "a connection for each request", &[Api::THUMBNAILS], churn),
    scenario("S17", "independent calls that wait for each other", CHAIN, waterfall),
    scenario("S18", "a list without a bound", &[Api::LISTING], oversized),
    scenario("S19", "text that is not compressed", &[Api::WORLD_STATE], uncompressed),
    scenario("S25", "redirects at each call", &[Api::NEWS_OLD, Api::NEWS_MOVED, Api::NEWS], redirects),
    scenario("S28", "more requests at once than the server takes", &Api::REPORTS, queueing),
];

pub(super) const CHAIN: &[Api] = &[Api::SESSION, Api::PROFILE, Api::BAG, Api::TROPHIES];

fn churn(scene: &mut Scene<'_>) {
    let per_minute = scene.draw([(55.0, 80.0), (32.0, 38.0), (8.0, 12.0)]);
    let closing = scene.level([1.0, 0.9, 1.0]);
    let mut now_ns = scene.begin_ns;
    let length_ns = scene.apart(300 * SECOND);
    while now_ns < scene.begin_ns + length_ns {
        let mut call = scene.call(Api::THUMBNAILS, &[], now_ns);
        if scene.random.chance(closing) {
            call.ask.keep = Keep::ClosedByClient;
        }
        scene.send(call);
        now_ns += (60e9 / per_minute * scene.random.between(0.3, 1.7)) as u64;
    }
    // Calls had to be made; connections are no calls.
    scene.episode(Pattern::ConnectionChurn, Api::THUMBNAILS, 0.0, |_, _| false);
}

fn waterfall(scene: &mut Scene<'_>) {
    let rounds = scene.count([(18, 24), (7, 9), (2, 3)]);
    let mut now_ns = scene.begin_ns;
    for _ in 0..rounds {
        scene.new_task();
        let id = scene.id();
        let mut at_ns = now_ns;
        for &api in CHAIN {
            let call = scene.call(api, &[&id], at_ns);
            at_ns = scene.send(call) + scene.random.below(MS..6 * MS);
        }
        now_ns = at_ns + (scene.random.between(8.0, 20.0) * 1e9) as u64;
    }
    if let Some(episode) = scene.episode(Pattern::SerialWaterfall, Api::SESSION, 0.0, |_, _| false) {
        episode.is_told_only = true;
    }
}

fn oversized(scene: &mut Scene<'_>) {
    let count = scene.count([(18, 24), (60, 70), (3, 4)]);
    let body_bytes = scene.draw([(1.1e6, 1.3e6), (340e3, 400e3), (240e3, 280e3)]);
    let mut now_ns = scene.begin_ns;
    let mut wasted = 0.0;
    for _ in 0..count {
        let id = scene.id();
        let mut call = scene.call(Api::LISTING, &[&id], now_ns);
        call.reply.body_bytes = (body_bytes * scene.random.between(0.97, 1.03)) as u32;
        wasted += (f64::from(call.reply.body_bytes) - SIZE_CAP_BYTES).max(0.0);
        scene.send(call);
        let pause_ns = (1e9 + scene.random.exponential(400.0 / count as f64) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    if let Some(episode) = scene.episode(Pattern::OversizedPayload, Api::LISTING, 0.0, |_, _| false) {
        episode.wasted_bytes = wasted;
    }
}

fn uncompressed(scene: &mut Scene<'_>) {
    let body_bytes = scene.draw([(75e3, 90e3), (38e3, 48e3), (2e3, 3e3)]);
    let interval_s = scene.level([0.5, 0.8, 12.0]);
    let id = scene.id();
    let mut now_ns = scene.begin_ns;
    let mut wasted = 0.0;
    let length_ns = scene.apart(360 * SECOND);
    while now_ns < scene.begin_ns + length_ns {
        let mut call = scene.call(Api::WORLD_STATE, &[&id], now_ns);
        // The world goes on: no two answers are the same.
        call.reply.body = scene.random.next();
        call.reply.body_bytes = (body_bytes * scene.random.between(0.9, 1.1)) as u32;
        call.reply.is_coded = false;
        wasted += f64::from(call.reply.body_bytes) * (1.0 - COMPRESSED);
        scene.send(call);
        now_ns += (0.2e9 + scene.random.exponential(interval_s) * 1e9) as u64;
    }
    if let Some(episode) = scene.episode(Pattern::UncompressedPayload, Api::WORLD_STATE, 0.0, |_, _| false) {
        episode.wasted_bytes = wasted;
    }
}

fn redirects(scene: &mut Scene<'_>) {
    let count = scene.count([(50, 60), (24, 30), (3, 4)]);
    let hops = scene.level([2, 1, 1]);
    let way = &[Api::NEWS_OLD, Api::NEWS_MOVED, Api::NEWS][2 - hops..];
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        scene.new_task();
        let id = scene.id() % 5_000;
        let mut at_ns = now_ns;
        for (index, &api) in way.iter().enumerate() {
            let mut call = scene.call(api, &[&id], at_ns);
            if let Some(&next) = way.get(index + 1) {
                call.reply.status = 301;
                call.reply.body_bytes = 0;
                call.reply.location = Some((next.authority(), next.path(&[&id]).into()));
            }
            at_ns = scene.send(call) + scene.random.below(MS..4 * MS);
        }
        let pause_ns = (1e9 + scene.random.exponential(400.0 / count as f64) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    for call in scene.calls.iter_mut().filter(|call| call.reply.status == 301) {
        call.wasted = Some(Pattern::RedirectChain);
    }
    scene.episode(Pattern::RedirectChain, way[0], count as f64 * hops as f64, |_, _| true);
}

fn queueing(scene: &mut Scene<'_>) {
    let rounds = scene.count([(20, 25), (12, 15), (4, 6)]);
    let parallel = scene.level([12, 9, 4]);
    // The server works on this many at once; the rest wait for a turn.
    let at_once = 6;
    let mut now_ns = scene.begin_ns;
    for _ in 0..rounds {
        scene.new_task();
        for (index, &api) in Api::REPORTS[..parallel].iter().enumerate() {
            let mut call = scene.call(api, &[], now_ns + index as u64 * MS);
            call.reply.body = scene.random.next();
            call.reply.first_byte_ns += (index / at_once) as u64 * 350 * MS + index as u64 * 12 * MS;
            scene.send(call);
        }
        let pause_ns = (10e9 + scene.random.exponential(12.0) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    if let Some(episode) = scene.episode(Pattern::SuboptimalEndpoint, Api::REPORT_A, 0.0, |_, _| false) {
        episode.is_told_only = true;
    }
}
