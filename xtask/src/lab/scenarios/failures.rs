//! Given: a scene. Gives: calls that fail and are made again, that are turned away, and that nobody waits for. Refuses to
//! know: thresholds beyond the three intensities.

use rotrace::detect::Pattern;

use super::{Row, scenario};
use crate::lab::api::Api;
use crate::lab::plan::{MS, Planned, SECOND};
use crate::lab::scene::{Limited, Scene};

pub(super) const ROWS: &[Row] = &[
    scenario("S11", "an outage of 20 s, retried every 50 ms", &[Api::PROFILE], no_backoff),
    scenario("S12", "Retry-After of 5 s, retried after 1 s", &[Api::SAVE], retry_after_ignored),
    scenario("S13", "more calls than the limit of a minute", &[Api::TICKET], over_the_limit),
    scenario("S14", "a wrong key, for ever", &[Api::INVENTORY], wrong_key),
    scenario("S15", "an asset that was deleted, for each player", &[Api::DOCUMENT], deleted),
    scenario("S26", "a timeout below what the server takes", &[Api::REPORT], short_timeout),
    scenario("S13b", "more calls than a bucket of tokens lets through", &[Api::TICKET], over_the_bucket),
];

fn no_backoff(scene: &mut Scene<'_>) {
    let pause_ms = scene.draw([(45.0, 60.0), (200.0, 300.0), (1_900.0, 2_100.0)]);
    let chains = scene.level([3, 3, 2]);
    let mut wasted = 0.0;
    let mut is_wasted = Vec::new();
    for chain in 0..chains {
        scene.new_task();
        let id = scene.id();
        let attempts_max = scene.count([(200, 260), (12, 18), (2, 2)]);
        let mut now_ns = scene.begin_ns + scene.apart(chain * 60 * SECOND);
        for attempt in 0..=attempts_max {
            let mut call = scene.call(Api::PROFILE, &[&id], now_ns);
            if attempt < attempts_max {
                call.reply.status = 503;
                call.reply.first_byte_ns = scene.random.below(4 * MS..12 * MS);
                call.reply.body_bytes = 90;
                call.reply.body = scene.random.next();
            }
            is_wasted.push((2..attempts_max).contains(&attempt));
            now_ns = scene.send(call) + (pause_ms * scene.random.between(0.95, 1.05)) as u64 * MS;
        }
        // Three attempts are what a client may make, with pauses that grow; all of these fail but the last, which is wanted.
        wasted += (attempts_max as f64 + 1.0 - 3.0).max(0.0);
    }
    scene.episode(Pattern::RetryStorm, Api::PROFILE, wasted, |index, _| is_wasted[index]);
}

fn retry_after_ignored(scene: &mut Scene<'_>) {
    let chains = scene.count([(16, 24), (8, 10), (3, 4)]);
    // Below, the client waits as it was told.
    let wait_ns = scene.level([SECOND, SECOND, 5_100 * MS]);
    let universe = scene.universe();
    let mut wasted = 0.0;
    let mut early = Vec::new();
    for chain in 0..chains {
        scene.new_task();
        let key = format!("player-{}", scene.id());
        let pause_ns = chain * 20 * SECOND + scene.random.below(0..5 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        let body = scene.random.next();
        let (mut now_ns, mut allowed_ns) = (begin_ns, 0);
        loop {
            let mut call = scene.call(Api::SAVE, &[&universe, &"players", &key], now_ns);
            call.ask.body = body;
            let is_refused = allowed_ns == 0 || now_ns < allowed_ns;
            early.push(allowed_ns > 0 && is_refused);
            wasted += f64::from(u8::from(allowed_ns > 0 && is_refused));
            if is_refused {
                call.reply.status = 429;
                call.reply.first_byte_ns = 4 * MS;
                call.reply.body_bytes = 60;
                let end_ns = call.end_ns();
                allowed_ns = if allowed_ns == 0 { end_ns + 5 * SECOND } else { allowed_ns };
                call.reply.retry_after_s = Some((allowed_ns - now_ns).div_ceil(SECOND).min(5) as u32);
            }
            now_ns = scene.send(call) + wait_ns;
            if !is_refused {
                break;
            }
        }
    }
    scene.episode(Pattern::RetryStorm, Api::SAVE, wasted, |index, _| early[index]);
    // The refusals before the retries are those of a client that calls too much.
    let refused = scene.calls.iter().filter(|call| call.reply.status == 429 && call.wasted.is_none()).count();
    let is_refused = |_: usize, call: &Planned| call.reply.status == 429;
    scene.episode(Pattern::RateLimitPressure, Api::SAVE, refused as f64, is_refused);
}

fn over_the_limit(scene: &mut Scene<'_>) {
    beyond(scene, Limited::window(500));
}

fn over_the_bucket(scene: &mut Scene<'_>) {
    beyond(scene, Limited::bucket(60, 500));
}

/// Calls at a rate that is beyond 500 a minute, just so, or well below.
fn beyond(scene: &mut Scene<'_>, mut limited: Limited) {
    let per_minute = scene.draw([(650.0, 800.0), (530.0, 570.0), (300.0, 350.0)]);
    let mut now_ns = scene.begin_ns;
    while now_ns < scene.begin_ns + 300 * SECOND {
        let mut call = scene.call(Api::TICKET, &[], now_ns);
        limited.answer(&mut call);
        scene.send(call);
        now_ns += (60e9 / per_minute * scene.random.between(0.5, 1.5)) as u64;
    }
    let refused = scene.calls.iter().filter(|call| call.reply.status == 429).count() as f64;
    scene.episode(Pattern::RateLimitPressure, Api::TICKET, refused, |_, call| call.reply.status == 429);
}

fn wrong_key(scene: &mut Scene<'_>) {
    let count = scene.count([(90, 110), (22, 28), (3, 3)]);
    let interval_s = scene.level([5.0, 18.0, 60.0]);
    let id = scene.id();
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        let mut call = scene.query(Api::INVENTORY, &[&id], "maxPageSize=100", now_ns);
        call.ask.credentials = u64::MAX;
        call.reply.status = 403;
        call.reply.body_bytes = 70;
        call.reply.is_coded = false;
        scene.send(call);
        let pause_ns = (interval_s * scene.random.between(0.97, 1.03) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    scene.episode(Pattern::ErrorLoop, Api::INVENTORY, (count - 2) as f64, |index, _| index >= 2);
}

fn deleted(scene: &mut Scene<'_>) {
    let count = scene.count([(50, 60), (16, 20), (3, 3)]);
    let id = format!("item-{}", scene.id());
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        scene.new_task();
        let mut call = scene.call(Api::DOCUMENT, &[&id], now_ns);
        call.reply.status = 404;
        call.reply.body_bytes = 60;
        scene.send(call);
        let pause_ns = (0.5e9 + scene.random.exponential(420.0 / count as f64).min(100.0) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    scene.episode(Pattern::ErrorLoop, Api::DOCUMENT, (count - 2) as f64, |index, _| index >= 2);
}

fn short_timeout(scene: &mut Scene<'_>) {
    let count = scene.count([(90, 110), (30, 40), (6, 8)]);
    let timeout_ms = scene.level([200, 280, 290]);
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        let id = scene.id();
        let mut call = scene.call(Api::REPORT, &[&id], now_ns);
        call.ask.gives_up_ns = Some(timeout_ms * MS);
        let end_ns = scene.send(call);
        let pause_ns = (scene.random.exponential(420.0 / count as f64) * 1e9) as u64;
        now_ns = end_ns + scene.apart(pause_ns);
    }
    let aborted = scene.calls.iter().filter(|call| call.is_aborted()).count() as f64;
    scene.episode(Pattern::WastedResponse, Api::REPORT, aborted, |_, call| call.is_aborted());
}
