//! Given: a scene. Gives: reads that could be fewer: one for each id, the same again, polls, small pages. Refuses to know:
//! thresholds beyond the three intensities.

use rotrace::detect::Pattern;
use rotrace::detect::finding::Class;

use super::{Row, scenario};
use crate::lab::api::Api;
use crate::lab::plan::{MS, Planned, SECOND};
use crate::lab::scene::{Scene, version};

/// Ids of one batch, as the catalogue of the world has it; where it knows of none, this is assumed.
const BATCH_MAX: f64 = 100.0;
const BATCH_ASSUMED: f64 = 50.0;

/// Freshness of what may be kept.
const FRESH_S: u32 = 30;

pub(super) const ROWS: &[Row] = &[
    scenario("S1", "a read for each player, at once", IDS, |scene| one_per_id(scene, Pace::AtOnce)),
    scenario("S2", "a read for each player, in a loop", IDS, |scene| one_per_id(scene, Pace::Loop)),
    scenario("S3", "a read for each player, with a wait between", IDS, |scene| one_per_id(scene, Pace::Wait)),
    scenario("S4", "friends of each, and what each of them has", &[Api::FRIENDS, Api::INVENTORY], nested),
    scenario("S5", "the same read by several scripts at once", &[Api::RANKING], coalescable),
    scenario("S6", "the same read while its answer is fresh", &[Api::CONFIG], fresh),
    scenario("S7", "a read with the time in its query", &[Api::CONFIG], cache_buster),
    scenario("S8", "a poll of what changes every ten minutes", &[Api::LIVE_EVENT], poll),
    scenario("S9", "a poll of an empty queue", &[Api::QUEUE], poll_empty),
    scenario("S10", "a validator that is not sent back", &[Api::WORLD_STATE], validator_ignored),
    scenario("S24", "pages of ten where a hundred are allowed", PAGES, tiny_pages),
    scenario("S27", "an operation that has a cheaper successor", &[Api::SHOP_OLD], deprecated),
    scenario("S30", "a listing of small pages for each of many groups", &[Api::MEMBERS], pages_for_each),
    scenario(
        "S30b",
        "a poll that is retried at once while the server fails",
        &[Api::LIVE_EVENT],
        poll_in_outage,
    ),
];

const IDS: &[Api] = &[Api::USER, Api::GROUP, Api::BADGE];
const PAGES: &[Api] = &[Api::MEMBERS, Api::INVENTORY];

#[derive(Clone, Copy, PartialEq)]
enum Pace {
    AtOnce,
    Loop,
    Wait,
}

fn one_per_id(scene: &mut Scene<'_>, pace: Pace) {
    let api = IDS[scene.turn % IDS.len()];
    let bursts = scene.level([6, 5, 4]);
    let wait_ns = (scene.random.between(0.18, 0.22) * 1e9) as u64;
    let mut wasted = 0.0;
    let mut kept = Vec::new();
    let batch = if api == Api::BADGE { BATCH_ASSUMED } else { BATCH_MAX };
    for burst in 0..bursts {
        scene.new_task();
        let ids = match pace {
            Pace::Wait => scene.count([(50, 70), (22, 30), (6, 8)]),
            _ => scene.count([(40, 60), (12, 16), (6, 8)]),
        };
        let pause_ns = burst * 80 * SECOND + scene.random.below(0..20 * SECOND);
        let mut now_ns = scene.begin_ns + scene.apart(pause_ns);
        for index in 0..ids {
            let id = scene.id();
            let call = scene.call(api, &[&id], now_ns);
            let end_ns = scene.send(call);
            now_ns = match pace {
                Pace::AtOnce => now_ns + scene.random.below(MS..3 * MS),
                Pace::Loop => end_ns + scene.random.below(MS..5 * MS),
                Pace::Wait => end_ns + wait_ns,
            };
            kept.push(index % batch as u64 == 0);
        }
        wasted += spared(ids as f64, batch);
    }
    if let Some(episode) = scene.episode(Pattern::NPlusOne, api, wasted, |index, _| !kept[index])
        && api == Api::BADGE
    {
        episode.class = Class::Potential;
    }
}

/// Calls of a burst of so many ids that a batch would have spared.
fn spared(ids: f64, batch: f64) -> f64 {
    ids - (ids / batch).ceil()
}

fn nested(scene: &mut Scene<'_>) {
    let [outer, inner] = scene.level([[12, 10], [11, 3], [4, 2]]);
    let bursts = 4;
    for burst in 0..bursts {
        scene.new_task();
        let mut now_ns = scene.begin_ns + scene.apart(burst * 110 * SECOND);
        for _ in 0..outer {
            let id = scene.id();
            let call = scene.call(Api::FRIENDS, &[&id], now_ns);
            now_ns = scene.send(call) + 2 * MS;
            for _ in 0..inner {
                let friend = scene.id();
                let call = scene.query(Api::INVENTORY, &[&friend], "maxPageSize=100", now_ns);
                now_ns = scene.send(call) + 2 * MS;
            }
        }
    }
    for (api, ids) in [(Api::FRIENDS, outer), (Api::INVENTORY, outer * inner)] {
        let wasted = bursts as f64 * spared(ids as f64, BATCH_ASSUMED);
        let is_wasted = |index: usize, _: &Planned| !(index % ids).is_multiple_of(BATCH_ASSUMED as usize);
        if let Some(episode) = scene.episode(Pattern::NPlusOne, api, wasted, is_wasted) {
            episode.class = Class::Potential;
        }
    }
}

fn coalescable(scene: &mut Scene<'_>) {
    let scripts = scene.count([(8, 12), (3, 4), (2, 2)]);
    let rounds = scene.count([(18, 22), (8, 10), (2, 2)]);
    let universe = scene.universe();
    let mut now_ns = scene.begin_ns;
    let mut kept = Vec::new();
    for _ in 0..rounds {
        for script in 0..scripts {
            scene.new_task();
            let at_ns = now_ns + scene.random.below(0..12 * MS);
            let mut call = scene.query(Api::RANKING, &[&universe, &"wins"], "maxPageSize=20", at_ns);
            // Between rounds the ranking moves on.
            call.reply.body ^= now_ns;
            scene.send(call);
            kept.push(script == 0);
        }
        let pause_ns = (scene.random.between(12.0, 30.0) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    let wasted = (rounds * (scripts - 1)) as f64;
    scene.episode(Pattern::DuplicateRequest, Api::RANKING, wasted, |index, _| !kept[index]);
}

/// Reads the same at uneven intervals for a while, and changes each call.
fn again(
    scene: &mut Scene<'_>,
    (interval_s, count): (f64, u64),
    mut make: impl FnMut(&mut Scene<'_>, u64) -> Planned,
) {
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        let call = make(scene, now_ns);
        scene.send(call);
        now_ns += (interval_s * scene.random.between(0.97, 1.03) * 1e9) as u64;
    }
}

/// One of the calls of each time of freshness remains. The interval may cross its end.
fn first_of_each_freshness(calls: &[Planned]) -> Vec<bool> {
    let mut until_ns = 0;
    let first = calls.iter().map(|call| {
        let is_first = call.start_ns >= until_ns;
        if is_first {
            until_ns = call.end_ns() + u64::from(FRESH_S) * SECOND;
        }
        is_first
    });
    first.collect()
}

fn fresh(scene: &mut Scene<'_>) {
    let interval_s = scene.draw([(1.2, 2.0), (6.0, 9.0), (11.0, 13.0)]);
    let count = scene.level([(scene.lasting(480.0) / interval_s) as u64, 45, 3]);
    let id = scene.id();
    again(scene, (interval_s, count), |scene, at_ns| {
        let mut call = scene.call(Api::CONFIG, &[&id], at_ns);
        call.reply.max_age_s = Some(FRESH_S);
        call
    });
    let first = first_of_each_freshness(&scene.calls);
    let wasted = first.iter().filter(|&&first| !first).count() as f64;
    scene.episode(Pattern::DuplicateRequest, Api::CONFIG, wasted, |index, _| !first[index]);
}

fn cache_buster(scene: &mut Scene<'_>) {
    let interval_s = scene.draw([(1.5, 2.5), (6.0, 9.0), (11.0, 13.0)]);
    let count = scene.level([(scene.lasting(480.0) / interval_s) as u64, 45, 3]);
    let id = scene.id();
    again(scene, (interval_s, count), |scene, at_ns| {
        let mut call = scene.query(Api::CONFIG, &[&id], &format!("t={}", at_ns / MS), at_ns);
        call.reply.max_age_s = Some(FRESH_S);
        // The query does not change what is answered.
        call.reply.body = id;
        call
    });
    let first = first_of_each_freshness(&scene.calls);
    let wasted = first.iter().filter(|&&first| !first).count() as f64;
    scene.episode(Pattern::DuplicateRequest, Api::CONFIG, wasted, |index, _| !first[index]);
}

/// Polls that could be so far apart: half of the time between changes, and 30 s at least.
fn polls_spared(calls: &[Planned], interval_s: f64, change_s: f64) -> f64 {
    let apart_s = (change_s / 2.0).max(30.0);
    let unchanged = calls.windows(2).filter(|pair| pair[0].reply.body == pair[1].reply.body).count() as f64;
    (unchanged - calls.len() as f64 * interval_s / apart_s).max(0.0)
}

fn poll(scene: &mut Scene<'_>) {
    let interval_s = scene.draw([(0.9, 1.5), (6.0, 10.0), (62.0, 70.0)]);
    let id = scene.id();
    let change_s = 600.0;
    again(scene, (interval_s, (scene.lasting(540.0) / interval_s) as u64 + 2), |scene, at_ns| {
        let mut call = scene.call(Api::LIVE_EVENT, &[&id], at_ns);
        version(&mut call, change_s as u64 * SECOND);
        call
    });
    let wasted = polls_spared(&scene.calls, interval_s, change_s);
    let kept = (scene.calls.len() as f64 - wasted) as usize;
    scene.episode(Pattern::PollUnchanged, Api::LIVE_EVENT, wasted, |index, _| index >= kept);
}

fn poll_empty(scene: &mut Scene<'_>) {
    let interval_s = scene.draw([(0.4, 0.6), (0.9, 1.1), (62.0, 70.0)]);
    let queue = format!("trade-{}", scene.id());
    let universe = scene.universe();
    again(scene, (interval_s, (scene.lasting(540.0) / interval_s) as u64 + 2), |scene, at_ns| {
        scene.call(Api::QUEUE, &[&universe, &queue], at_ns)
    });
    // Nothing ever comes, so nobody knows how rarely one could ask: the least that is always possible.
    let wasted = polls_spared(&scene.calls, interval_s, 60.0);
    let kept = (scene.calls.len() as f64 - wasted) as usize;
    scene.episode(Pattern::PollUnchanged, Api::QUEUE, wasted, |index, _| index >= kept);
}

fn validator_ignored(scene: &mut Scene<'_>) {
    let count = scene.count([(18, 25), (9, 12), (2, 3)]);
    let body_bytes = scene.level([200_000, 20_000, 9_000]);
    let id = scene.id();
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        let mut call = scene.call(Api::WORLD_STATE, &[&id], now_ns);
        // It has to be asked for each time, so no answer is a duplicate.
        call.reply.max_age_s = Some(0);
        call.reply.has_etag = true;
        call.reply.body_bytes = body_bytes;
        scene.send(call);
        let pause_ns = (3.0e9 + scene.random.exponential(20.0).min(55.0) * 1e9) as u64;
        now_ns += scene.apart(pause_ns);
    }
    let bytes = (count - 1) as f64 * f64::from(body_bytes);
    if let Some(episode) = scene.episode(Pattern::MissingConditional, Api::WORLD_STATE, 0.0, |_, _| false) {
        episode.wasted_bytes = bytes;
    }
}

/// All pages of a listing, one after the other; when the last is there.
fn pages(scene: &mut Scene<'_>, api: Api, of: u64, count: u64, mut now_ns: u64) -> u64 {
    for page in 0..count {
        let key = if api == Api::MEMBERS { "cursor" } else { "pageToken" };
        let cursor = format!("{key}=c{of}x{page}");
        let call = match page {
            0 => scene.call(api, &[&of], now_ns),
            _ => scene.query(api, &[&of], &cursor, now_ns),
        };
        now_ns = scene.send(call) + scene.random.below(MS..8 * MS);
    }
    now_ns
}

fn tiny_pages(scene: &mut Scene<'_>) {
    let api = PAGES[scene.turn % PAGES.len()];
    let listings = scene.level([8, 5, 3]);
    let mut wasted = 0.0;
    let mut kept = Vec::new();
    for listing in 0..listings {
        scene.new_task();
        let count = scene.count([(20, 28), (7, 10), (2, 3)]);
        let of = scene.id();
        let pause_ns = listing * 60 * SECOND + scene.random.below(0..20 * SECOND);
        let at_ns = scene.begin_ns + scene.apart(pause_ns);
        pages(scene, api, of, count, at_ns);
        let needed = (count as f64 * 10.0 / 100.0).ceil() as u64;
        wasted += (count - needed) as f64;
        kept.extend((0..count).map(|page| page < needed));
    }
    scene.episode(Pattern::TinyPages, api, wasted, |index, _| !kept[index]);
}

fn deprecated(scene: &mut Scene<'_>) {
    let count = scene.count([(90, 120), (30, 40), (2, 3)]);
    let mut now_ns = scene.begin_ns;
    for _ in 0..count {
        let id = scene.id();
        let mut call = scene.call(Api::SHOP_OLD, &[&id], now_ns);
        call.reply.is_deprecated = true;
        scene.send(call);
        let pause_ns = (scene.random.exponential(480.0 / count as f64) * 1e9) as u64;
        now_ns += scene.apart(pause_ns) + 5 * MS;
    }
    scene.episode(Pattern::SuboptimalEndpoint, Api::SHOP_OLD, 0.0, |_, _| false);
}

/// Small pages of each of many groups: the pages are what is wasted, by precedence those beyond the first of each group
/// would be one for each id.
fn pages_for_each(scene: &mut Scene<'_>) {
    let groups = scene.level([12, 6, 3]);
    let count = scene.level([12, 8, 2]);
    let mut now_ns = scene.begin_ns;
    for group in 0..groups {
        if group % 3 == 0 {
            scene.new_task();
            now_ns += scene.apart(20 * SECOND);
        }
        let of = scene.id();
        now_ns = pages(scene, Api::MEMBERS, of, count, now_ns);
    }
    let needed = (count as f64 * 10.0 / 100.0).ceil() as u64;
    let wasted = (groups * (count - needed)) as f64;
    scene.episode(Pattern::TinyPages, Api::MEMBERS, wasted, |index, _| index as u64 % count >= needed);
}

/// The poll goes on through two outages, in each of which it is retried without a pause.
fn poll_in_outage(scene: &mut Scene<'_>) {
    let interval_s = scene.level([1.0, 5.0, 65.0]);
    let retries = scene.level([120, 20, 2]);
    let id = scene.id();
    let count = (scene.lasting(480.0) / interval_s) as u64 + 2;
    let mut now_ns = scene.begin_ns;
    let mut failed = Vec::new();
    for index in 0..count {
        if index == count / 3 || index == 2 * count / 3 {
            for attempt in 0..retries {
                let mut call = scene.call(Api::LIVE_EVENT, &[&id], now_ns);
                call.reply.status = 503;
                call.reply.body = attempt;
                call.reply.body_bytes = 90;
                failed.push((scene.calls.len(), attempt));
                now_ns = scene.send(call) + 50 * MS;
            }
        }
        let call = scene.call(Api::LIVE_EVENT, &[&id], now_ns);
        scene.send(call);
        now_ns += (interval_s * scene.random.between(0.97, 1.03) * 1e9) as u64;
    }
    let wasted = 2.0 * (retries as f64 - 3.0).max(0.0);
    let is_retry = |index: usize| failed.iter().any(|&(at, attempt)| at == index && attempt >= 3);
    let first_ns = failed.first().and_then(|&(at, _)| Some(scene.calls.get(at)?.start_ns));
    let last_ns = failed.last().and_then(|&(at, _)| Some(scene.calls.get(at)?.end_ns()));
    if let Some(episode) =
        scene.episode(Pattern::RetryStorm, Api::LIVE_EVENT, wasted, |index, _| is_retry(index))
        && let (Some(first_ns), Some(last_ns)) = (first_ns, last_ns)
    {
        (episode.start_ns, episode.end_ns) = (first_ns, last_ns);
    }
    let polls: Vec<Planned> = scene.calls.iter().filter(|call| call.reply.status == 200).cloned().collect();
    let wasted = polls_spared(&polls, interval_s, 60.0);
    let last_kept_ns = polls.get((polls.len() as f64 - wasted) as usize).map_or(0, |call| call.start_ns);
    let is_spared = |_: usize, call: &Planned| call.reply.status == 200 && call.start_ns >= last_kept_ns;
    scene.episode(Pattern::PollUnchanged, Api::LIVE_EVENT, wasted, is_spared);
}
