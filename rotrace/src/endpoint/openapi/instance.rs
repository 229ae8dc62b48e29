//! Given: a document. Gives: calls to each of its paths, with values made up for the parameters. Refuses to know: what
//! real values look like beyond the types and names of the parameters.

use super::super::cache::hash;
use super::super::pattern::{Accepts, Part, Segment};
use super::Document;
use super::document::Route;

/// A call to a path of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Instance {
    pub(in crate::endpoint) authority: Box<str>,
    pub(in crate::endpoint) method: Box<str>,
    pub(in crate::endpoint) path: String,
    pub(in crate::endpoint) template: Box<str>,
}

impl Document {
    /// One for each path and authority; the same for the same seed.
    pub(in crate::endpoint) fn instances(&self, seed: u64) -> impl Iterator<Item = Instance> {
        self.routes().map(move |route| {
            let Route { authority, segments, template, methods } = route;
            let authority: Box<str> = authority.clone().unwrap_or_else(|| "any.example".into());
            let mut state = hash(seed, template.as_bytes()) ^ hash(seed, authority.as_bytes());
            let mut random = move |below: u64| {
                state = hash(state, b"next");
                state % below.max(1)
            };
            let names: Vec<&str> =
                template.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            let mut names = names.into_iter();
            let mut path = String::new();
            for segment in segments {
                path.push('/');
                match segment {
                    Segment::Literal(text) => path.push_str(text),
                    Segment::Value(accepts) => path.push_str(&value(accepts, names.next(), &mut random)),
                    Segment::Mixed { parts, .. } => {
                        path.extend(parts.iter().map(|part| match part {
                            Part::Text(text) => text.to_string(),
                            Part::Value(accepts) => value(accepts, names.next(), &mut random),
                        }));
                    }
                }
            }
            Instance {
                authority,
                method: methods.first().cloned().unwrap_or_else(|| "GET".into()),
                path,
                template: template.clone(),
            }
        })
    }
}

/// A value of the kind; for one of any kind the parameter's name tells identifiers from names.
fn value(accepts: &Accepts, name: Option<&str>, random: &mut impl FnMut(u64) -> u64) -> String {
    const WORDS: [&str; 12] = [
        "amber",
        "Player_Saves",
        "coins",
        "dragon-isle",
        "GlobalScores",
        "lantern",
        "moss",
        "night-market",
        "Quests",
        "river",
        "SwordShop",
        "winter",
    ];
    let digits = |most: u64, random: &mut dyn FnMut(u64) -> u64| {
        let bound = 10_u64.pow(u32::try_from(1 + random(most)).unwrap_or(1));
        (1 + random(bound)).to_string()
    };
    let pick = |count: usize, random: &mut dyn FnMut(u64) -> u64| {
        usize::try_from(random(count as u64)).unwrap_or_default()
    };
    match accepts {
        Accepts::Enumeration(values) => {
            values.get(pick(values.len(), random)).map(|value| value.to_string()).unwrap_or_default()
        }
        Accepts::Uuid => uuid(random),
        Accepts::Date => format!("20{:02}-{:02}-{:02}", random(30), 1 + random(12), 1 + random(28)),
        Accepts::Boolean => if random(2) == 0 { "true" } else { "false" }.to_owned(),
        Accepts::Integer => digits(12, random),
        Accepts::Number => format!("{}.{}", random(1000), random(100)),
        Accepts::Characters { set, least, most } => {
            let characters: Vec<char> = (0..128_u8).filter(|at| set >> at & 1 == 1).map(char::from).collect();
            let length = (*least).max(8).min(*most);
            (0..length).filter_map(|_| characters.get(pick(characters.len(), random))).collect()
        }
        Accepts::Any if name.is_some_and(|name| name.to_ascii_lowercase().ends_with("id")) => match random(3)
        {
            0 => uuid(random),
            1 => format!("{:016x}", random(u64::MAX)),
            _ => digits(12, random),
        },
        Accepts::Any => {
            // Two words more often than one: games choose other names than each other.
            let mut word = || WORDS.get(pick(WORDS.len(), random)).copied().unwrap_or_default();
            let (first, second) = (word(), word());
            match random(4) {
                0 => first.to_owned(),
                1 => [first, "_", second].concat(),
                _ => [first, "-", second].concat(),
            }
        }
    }
}

fn uuid(random: &mut impl FnMut(u64) -> u64) -> String {
    let mut part = |bits: u32| random(1 << bits);
    let (first, second, third, fourth, fifth) = (part(32), part(16), part(12), part(12), part(48));
    format!("{first:08x}-{second:04x}-4{third:03x}-8{fourth:03x}-{fifth:012x}")
}
