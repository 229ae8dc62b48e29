//! Given: the names of calls, and the key of this start. Gives: their numbers, and what varies in their paths. Refuses to
//! know: anything else of a call. Nearly all calls have the names of one before them, so what was made of names is kept;
//! that changes the time which an answer takes and never the answer.

use std::sync::Arc;

use super::observation::Verb;
use super::template::Template;
use crate::cache::{Cache, Word, address_hash};
use crate::call::Call;
use crate::endpoint::canonical::divided;
use crate::keyed::{Key, combine};
use crate::summary::UNKNOWN_GAME;

/// Names whose numbers are kept; a game has some dozens of endpoints. Each takes some 240 bytes.
const KEPT: usize = 8192;

/// The names of calls, and their numbers.
#[derive(Debug)]
pub struct Labels {
    key: Key,
    kept: Cache<Box<Label>>,
}

/// What all calls with one method to one endpoint of one game share.
#[derive(Clone, Debug)]
pub struct Label {
    label: Arc<str>,
    game_name: Option<Arc<str>>,
    /// `None` for one that is too long to be found again.
    method_name: Option<Word>,
    /// Bytes of the authority, with which the label begins.
    authority_bytes: usize,
    /// The game.
    pub game: u64,
    /// **E**: game, authority, template and method.
    pub endpoint: u64,
    /// The same whatever the game.
    pub endpoint_of_any_game: u64,
    /// The authority.
    pub authority: u64,
    /// What the method does.
    pub verb: Verb,
    /// Which segments of its paths are parameters.
    pub template: Template,
}

impl Labels {
    /// Without a name.
    pub fn new(key: Key) -> Self {
        Labels { key, kept: Cache::new(KEPT) }
    }

    /// The key, and what the names of a call come to.
    pub fn of(&mut self, call: &Call) -> (&Key, &Label) {
        let Labels { key, kept } = self;
        // A name is kept together with its memory, so another one cannot have the same address.
        let label = kept.of(place(call), |label| label.is_of(call), || Box::new(Label::new(call, key)));
        (key, label)
    }
}

impl Label {
    fn new(call: &Call, key: &Key) -> Self {
        let method_name = &*call.exchange.method;
        let (authority, template) = divided(&call.endpoint);
        let label = key.name(call.endpoint.as_bytes());
        let method = key.name(method_name.as_bytes());
        let game = key.name(call.game.as_deref().unwrap_or(UNKNOWN_GAME).as_bytes());
        Label {
            label: Arc::clone(&call.endpoint),
            game_name: call.game.clone(),
            method_name: Word::new(method_name),
            authority_bytes: authority.len(),
            game,
            endpoint: combine(label, combine(method, game)),
            endpoint_of_any_game: combine(label, method),
            authority: key.name(authority.as_bytes()),
            verb: Verb::of(method_name),
            template: Template::new(template),
        }
    }

    /// The authority, as in the label.
    pub fn authority_name(&self) -> &str {
        self.label.get(..self.authority_bytes).unwrap_or_default()
    }

    fn is_of(&self, call: &Call) -> bool {
        let is_game = match (&self.game_name, &call.game) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        is_game
            && Arc::ptr_eq(&self.label, &call.endpoint)
            && self.method_name.is_some_and(|word| word.is(&call.exchange.method))
    }
}

/// Where the names of a call are kept, if they are.
fn place(call: &Call) -> usize {
    let game = call.game.as_ref().map_or(0, |game| game.as_ptr().addr());
    let method = call.exchange.method.as_bytes().first().map_or(0, |&letter| letter.into());
    address_hash(&call.endpoint) ^ (game >> 6) ^ method
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixture::{get, send};

    #[test]
    fn what_is_kept_is_what_would_be_made() {
        let mut labels = Labels::new(Key::default());
        let calls: Vec<Call> = (0..3 * KEPT)
            .map(|number| {
                let path = format!("/v1/things/{}", number % 700);
                if number % 3 == 0 { send("POST", &path) } else { get(&path) }.call()
            })
            .collect();
        for call in calls.iter().chain(&calls) {
            let Label { endpoint, endpoint_of_any_game, game, .. } = Label::new(call, &Key::default());
            let (_, kept) = labels.of(call);
            assert_eq!(
                (kept.endpoint, kept.endpoint_of_any_game, kept.game),
                (endpoint, endpoint_of_any_game, game)
            );
        }
    }

    #[test]
    fn a_name_with_another_method_or_game_is_another() {
        let mut labels = Labels::new(Key::default());
        let call = get("/a").call();
        let mut other = call.clone();
        other.game = Some("other".into());
        let mut posted = call.clone();
        posted.exchange.method = "GOT".into();
        let numbers = [&call, &other, &posted, &call].map(|call| labels.of(call).1.endpoint);
        assert_eq!(numbers[0], numbers[3]);
        assert!(numbers[0] != numbers[1] && numbers[0] != numbers[2] && numbers[1] != numbers[2]);
    }
}
