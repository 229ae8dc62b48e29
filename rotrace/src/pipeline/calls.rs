//! Given: what a connection yields, and who uses it. Gives: calls, counted. Refuses to know: bytes.

use std::sync::Arc;

use rotrace_ebpf::record::{Open, TLS_OBJECT};

use super::{Known, Output, Settings, peer};
use crate::accounts::Accounts;
use crate::attribute::Games;
use crate::call::Call;
use crate::cost;
use crate::endpoint::learned::Source;
use crate::endpoint::{Resolved, Tier};
use crate::exchange::{Direction, Event, Exchange, Unpaired};
use crate::http::websocket::Tally;
use crate::keyed::combine;
use crate::summary::{Key, Summary};

/// What all calls of a connection share.
pub(super) struct Shared<'a> {
    pub(super) open: Option<&'a Open>,
    pub(super) known: &'a Known,
    pub(super) conn: u64,
    /// Its first call is the first that was made on it.
    pub(super) is_from_start: bool,
    pub(super) handshake: &'a mut Option<Box<Handshake>>,
}

/// A call that was answered with 101: what comes behind it is counted under its endpoint.
#[derive(Debug)]
pub(super) struct Handshake {
    key: Key,
    is_doubtful: bool,
}

/// Makes calls of exchanges.
pub(super) struct Emit<'a> {
    pub(super) settings: &'a mut Settings,
    pub(super) games: &'a mut Games,
    pub(super) summary: &'a mut Summary,
    pub(super) accounts: &'a mut Accounts,
    pub(super) out: &'a mut dyn FnMut(Output<'_>),
}

impl Emit<'_> {
    /// Takes what a connection has yielded.
    pub(super) fn event(&mut self, of: &mut Shared<'_>, event: Event) {
        match event {
            Event::Exchange(exchange) => self.exchange(of, *exchange),
            Event::Frames { direction, at_ns, tally } => self.frames(of, direction, at_ns, tally),
            Event::Unpaired(unpaired) => {
                let game = of.known.by_process.game.as_ref();
                let coverage = self.summary.coverage_mut(game, 0);
                coverage.add_unpaired(unpaired);
                match unpaired {
                    Unpaired::Upgraded => coverage.add_opaque("upgraded"),
                    Unpaired::NotHttp => coverage.add_opaque("not_http"),
                    Unpaired::Response | Unpaired::Request | Unpaired::Resync => {}
                }
            }
        }
    }

    /// Frames of a handshake that nobody asked for are not counted either.
    fn frames(&mut self, of: &mut Shared<'_>, direction: Direction, at_ns: u64, tally: Tally) {
        let Some(handshake) = of.handshake else { return };
        let Handshake { key, is_doubtful } = &mut **handshake;
        if *is_doubtful {
            let (endpoint, is_still_doubtful) = self.settings.endpoints.settled(&key.endpoint);
            if is_still_doubtful {
                return self.summary.hold_frames(key, at_ns, direction, tally);
            }
            (key.endpoint, *is_doubtful) = (endpoint, false);
        }
        self.summary.record_frames(key, at_ns, direction, tally);
    }

    fn exchange(&mut self, of: &mut Shared<'_>, exchange: Exchange) {
        if !self.settings.roles.contains(&exchange.role) {
            return;
        }
        let Known { process, by_process } = of.known;
        let game = self.settings.rules.game_of_call(by_process, &exchange.fields, self.games);
        let source = || {
            // What is not there says nothing of the paths that are.
            let is_there = exchange.status_of_call().is_some_and(|status| !matches!(status, 404 | 405));
            let id = combine(process.pid.into(), process.start_ticks);
            is_there.then(|| Source::new(id, game.as_deref()))
        };
        let endpoints = &mut self.settings.endpoints;
        let Resolved { endpoint, path, tier, is_doubtful } = match exchange.unnamed {
            Some(why) => {
                self.summary.coverage_mut(game.as_ref(), exchange.started_ns).add_unnamed(why);
                endpoints.unknown()
            }
            None => {
                let authority = exchange.authority.as_deref();
                endpoints.resolve_of(authority, &exchange.method, &exchange.target, source)
            }
        };
        if tier == Tier::Ignored {
            return;
        }
        let mut call = Call {
            exchange,
            process: Arc::clone(process),
            game,
            endpoint,
            path,
            conn: of.conn,
            tls: of.conn & TLS_OBJECT != 0,
            cost_ucu: None,
            peer: of.open.and_then(peer::address),
        };
        // Whether a session was resumed is not seen of a handshake that is encrypted.
        let is_opened = call.tls && of.is_from_start && call.exchange.ordinal == 0;
        self.accounts.record(&mut call, is_opened.then_some(cost::Handshake::Full));
        if call.exchange.status == Some(101) {
            *of.handshake = Some(Box::new(Handshake { key: Key::of(&call), is_doubtful }));
        }
        if is_doubtful {
            self.summary.hold(&call);
        } else {
            self.summary.record(&call);
        }
        (self.out)(Output::Call(&call));
    }
}
