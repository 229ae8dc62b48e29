//! Given: records. Gives: what a pipeline says of them, with classes of equality in place of hashes: of the same classes in
//! redacted records as in those that they were made of. Refuses to know: whether they are redacted.

use std::collections::BTreeMap;

use crate::attribute::{GameRule, Rules};
use crate::call::Call;
use crate::detect::labels::Labels;
use crate::detect::observation::Observation;
use crate::detect::query::PartKind;
use crate::endpoint::{Endpoints, Settings as EndpointSettings};
use crate::exchange::ids::Ids;
use crate::exchange::signals::Fingerprint;
use crate::exchange::{Role, Signals};
use crate::keyed::Key;
use crate::pipeline::{Output, Pipeline, Settings};
use crate::redact::letters::Letters;
use crate::report::json;

/// Without the queries of targets and the number of captured bytes.
pub(super) fn told(records: &[Vec<u8>]) -> Vec<String> {
    let game = GameRule::header("x-game").expect("a name");
    let mut pipeline = Pipeline::new(Settings {
        rules: Rules::new(Vec::new(), vec![game]),
        endpoints: Endpoints::new(&EndpointSettings::default(), &[]).expect("settings that fit"),
        roles: [Role::Client, Role::Server].into(),
        connections: 64,
        prices: crate::cost::Prices::default(),
        detect: crate::detect::Settings::default(),
    });
    let (mut told, mut classes) = (Vec::new(), Classes::default());
    let mut out = |output: Output<'_>| match output {
        Output::Call(call) => told.push(line(call, &mut classes)),
        Output::Finding(_) | Output::Ignore { .. } => {}
    };
    for record in records {
        pipeline.feed(record, &mut out);
    }
    pipeline.finish_all(1_000_000, &mut out);
    let summary = pipeline.summary();
    let summary = json::summary_line(&summary, pipeline.prices()).expect("plain values");
    let mut summary: serde_json::Value = serde_json::from_str(&summary).expect("what was written");
    summary.as_object_mut().expect("an object").remove("captured_bytes");
    told.push(summary.to_string());
    without_credentials(told)
}

fn line(call: &Call, classes: &mut Classes) -> String {
    let mut seen = Observation::default();
    let is_seen = seen.fill(call, classes.next_seq(), 0, &mut Labels::new(Key::default()));
    let compared = is_seen.then(|| {
        // Credentials with a `?` in them look like a query.
        let kinds = seen.parts.iter().map(|part| part.kind).filter(|kind| *kind != PartKind::Query);
        let kinds: Vec<_> = kinds.collect();
        let numbers = [
            ("url", seen.url),
            ("request", seen.request),
            ("request of anyone", seen.request_of_anyone),
            ("query", seen.parts.query),
            ("listing", seen.parts.listing),
        ];
        (kinds, numbers.map(|(what, number)| (what, classes.of(what, number))))
    });
    let mut call = call.clone();
    call.exchange.target = (&*call.path).into();
    classes.replace(&mut call.exchange.signals);
    format!("{call:?} {compared:?}")
}

/// The path of a target that is malformed may have credentials in it.
fn without_credentials(told: Vec<String>) -> Vec<String> {
    const CREDENTIALS: &str = "=SECRET=";
    if !told.iter().any(|line| line.contains('@')) {
        return told;
    }
    let mut letters = CREDENTIALS.to_owned().into_bytes();
    Letters::new(super::kept().key).overwrite(&mut letters);
    let letters = String::from_utf8(letters).expect("letters");
    told.iter().map(|line| line.replace(CREDENTIALS, "xxxxxxxx").replace(&letters, "xxxxxxxx")).collect()
}

/// Numbers of hashes in the order in which they came, for each thing that is hashed.
#[derive(Default)]
struct Classes {
    known: BTreeMap<&'static str, Vec<u64>>,
    seq: u64,
}

impl Classes {
    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn of(&mut self, what: &'static str, hash: u64) -> u64 {
        let known = self.known.entry(what).or_default();
        let place = known.iter().position(|own| *own == hash).unwrap_or_else(|| {
            known.push(hash);
            known.len() - 1
        });
        place as u64
    }

    fn replace(&mut self, signals: &mut Signals) {
        let Signals { request, response, .. } = signals;
        let mut replace = |what, hash: &mut Option<u64>| *hash = hash.map(|hash| self.of(what, hash));
        replace("credentials", &mut request.credentials);
        replace("etag", &mut response.etag);
        replace("last modified", &mut response.last_modified);
        replace("url", &mut response.location);
        let mut replace = |what, body: &mut Option<Fingerprint>| {
            *body = body.map(|body| Fingerprint { hash: self.of(what, body.hash), ..body });
        };
        replace("request body", &mut request.body);
        replace("response body", &mut response.body);
        // Which ids a body held is not in a redacted capture.
        response.ids = Ids::default();
    }
}
