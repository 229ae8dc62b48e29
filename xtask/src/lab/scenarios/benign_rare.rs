//! Given: a scene. Gives: traffic that looks like waste and is none, of the kinds that some games have. Refuses to know:
//! detectors.

use super::transport::CHAIN;
use super::{Row, benign};
use crate::lab::api::Api;
use crate::lab::plan::{Keep, MS, SECOND};
use crate::lab::scene::Scene;

pub(super) const ROWS: &[Row] = &[
    benign("B14", "a chain in which each call needs the answer before it", CHAIN, dependent_chain),
    benign("B15", "downloads of 10 MB", &[Api::ASSET], downloads),
    benign("B16", "redirects to signed addresses", &[Api::DOWNLOAD, Api::SIGNED], signed),
    benign("B17", "a read behind each write, to verify it", &[Api::SAVE, Api::ENTRY], verified_writes),
    benign("B18", "a server that closes idle connections after 5 s", &[Api::SHOP], closed_by_server),
    benign("B19", "players who cancel what they asked for", &[Api::REPORT], cancelled),
    benign("B20", "a genre that needs three times the calls", &[Api::EXPERIMENT], heavy_genre),
    benign("B21", "a reaction to an event that all are told of", &[Api::LIVE_EVENT], reaction),
    benign("B22", "an operation that is asked for ever more rarely", &[Api::OPERATION], long_operation),
    benign("B23", "the same path on eight shards", &Api::SHARDS, shards),
    benign("B24", "health probes", &[Api::HEALTH], health),
    benign("B25", "the same path on another authority", &[Api::GLOBAL_USER], other_authority),
    benign("B26", "addresses with identifiers that are used once", &[Api::DOCUMENT], single_use),
];

fn dependent_chain(scene: &mut Scene<'_>) {
    for round in 0..12 {
        scene.new_task();
        let mut id = scene.id();
        let mut now_ns = scene.begin_ns + round * 30 * SECOND + scene.random.below(0..12 * SECOND);
        for &api in CHAIN {
            let mut call = scene.call(api, &[&id], now_ns);
            id = scene.id();
            call.reply.brings = Some(id.to_string().into());
            now_ns = scene.send(call) + 4 * MS;
        }
    }
}

fn downloads(scene: &mut Scene<'_>) {
    for round in 0..10 {
        let (id, at_ns) =
            (scene.id(), scene.begin_ns + round * 30 * SECOND + scene.random.below(0..20 * SECOND));
        let mut call = scene.call(Api::ASSET, &[&id], at_ns);
        call.reply.body_bytes = 10_000_000;
        call.reply.is_coded = false;
        scene.send(call);
    }
}

fn signed(scene: &mut Scene<'_>) {
    for round in 0..20 {
        scene.new_task();
        let id = scene.id() % 10;
        let pause_ns = round * 20 * SECOND + scene.random.below(0..10 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        let token = format!("{:016x}", scene.random.next());
        let mut redirect = scene.call(Api::DOWNLOAD, &[&id], begin_ns);
        redirect.reply.status = 302;
        redirect.reply.location = Some((Api::SIGNED.authority(), Api::SIGNED.path(&[&token]).into()));
        let end_ns = scene.send(redirect);
        let mut file = scene.call(Api::SIGNED, &[&token], end_ns + 2 * MS);
        file.reply.is_coded = false;
        scene.send(file);
    }
}

fn verified_writes(scene: &mut Scene<'_>) {
    let universe = scene.universe();
    for round in 0..12 {
        scene.new_task();
        let key = format!("trade-{}", scene.id());
        let pause_ns = round * 30 * SECOND + scene.random.below(0..10 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        let before = scene.call(Api::ENTRY, &[&universe, &"trades", &key], begin_ns);
        let end_ns = scene.send(before);
        let write = scene.call(Api::SAVE, &[&universe, &"trades", &key], end_ns + 2 * MS);
        let end_ns = scene.send(write);
        let mut after = scene.call(Api::ENTRY, &[&universe, &"trades", &key], end_ns + 2 * MS);
        after.reply.body = scene.random.next();
        scene.send(after);
    }
}

fn closed_by_server(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    for _ in 0..50 {
        let id = scene.id();
        let mut call = scene.call(Api::SHOP, &[&id], now_ns);
        call.ask.keep = Keep::ClosedByServer;
        scene.send(call);
        now_ns += 2 * SECOND + (scene.random.exponential(5.0) * 1e9) as u64;
    }
}

fn cancelled(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    for index in 0..150 {
        let id = scene.id();
        let mut call = scene.call(Api::REPORT, &[&id], now_ns);
        if index % 75 == 40 {
            call.ask.gives_up_ns = Some(scene.random.below(40 * MS..200 * MS));
        }
        now_ns = scene.send(call) + (scene.random.exponential(2.2) * 1e9) as u64 + 300 * MS;
    }
}

fn heavy_genre(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    while now_ns < scene.begin_ns + 420 * SECOND {
        let id = scene.id();
        let call = scene.call(Api::EXPERIMENT, &[&id], now_ns);
        scene.send(call);
        now_ns += (scene.random.exponential(3.0) * 1e9) as u64 + 2 * SECOND;
    }
}

fn reaction(scene: &mut Scene<'_>) {
    let id = scene.id();
    for round in 0..3 {
        let at_ns = scene.begin_ns + round * 100 * SECOND + scene.random.below(0..80 * MS);
        let mut call = scene.call(Api::LIVE_EVENT, &[&id], at_ns);
        call.reply.body = scene.random.next();
        scene.send(call);
    }
}

fn long_operation(scene: &mut Scene<'_>) {
    for job in 0..3 {
        scene.new_task();
        let operation = format!("op-{}", scene.id());
        let mut now_ns = scene.begin_ns + job * 120 * SECOND;
        let mut pause_s = 1.0;
        for _ in 0..9 {
            let call = scene.call(Api::OPERATION, &[&operation], now_ns);
            now_ns = scene.send(call) + (pause_s * 1e9) as u64;
            pause_s *= 1.5;
        }
    }
}

fn shards(scene: &mut Scene<'_>) {
    let id = scene.id();
    for round in 0..6 {
        scene.new_task();
        let pause_ns = round * 60 * SECOND + scene.random.below(0..20 * SECOND);
        let begin_ns = scene.begin_ns + scene.apart(pause_ns);
        for api in Api::SHARDS {
            let at_ns = begin_ns + scene.random.below(0..20 * MS);
            let mut call = scene.call(api, &[&id], at_ns);
            call.reply.body = scene.random.next();
            scene.send(call);
        }
    }
}

fn health(scene: &mut Scene<'_>) {
    for probe in 0..60 {
        let call = scene.call(Api::HEALTH, &[], scene.begin_ns + probe * 10 * SECOND);
        scene.send(call);
    }
}

fn other_authority(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    for _ in 0..16 {
        let id = scene.id();
        let call = scene.call(Api::GLOBAL_USER, &[&id], now_ns);
        scene.send(call);
        now_ns += SECOND + (scene.random.exponential(20.0) * 1e9) as u64;
    }
}

fn single_use(scene: &mut Scene<'_>) {
    let mut now_ns = scene.begin_ns;
    for _ in 0..30 {
        let (high, low) = (scene.random.next(), scene.random.next());
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            high & 0xffff,
            low >> 52,
            low & 0xfff,
            low >> 16
        );
        let call = scene.call(Api::DOCUMENT, &[&id], now_ns);
        scene.send(call);
        let pause_ns = (scene.random.exponential(12.0) * 1e9) as u64;
        now_ns += 200 * MS + scene.apart(pause_ns);
    }
}
