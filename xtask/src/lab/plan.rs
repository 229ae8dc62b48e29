//! Given: nothing; plain values. Gives: what one planned call is, and what is true of an episode that was planned. Refuses
//! to know: who plans, and who plays it.

use rotrace::detect::Pattern;
use rotrace::detect::finding::Class;
use rotrace::exchange::signals::{Content, RateLimit};
use serde_json::{Value, json};

use super::api::Api;
use super::world::World;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// The number of background traffic in [`Planned::cause`].
pub(crate) const BACKGROUND: u32 = 0;

/// How fast a body goes over the wire: 100 MB/s.
const NS_PER_BYTE: u64 = 10;

/// One call, with everything that both ends will do.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// Since the begin of the plan.
    pub(crate) start_ns: u64,
    /// Index of the process.
    pub(crate) process: u32,
    pub(crate) api: Api,
    /// Path and query.
    pub(crate) target: Box<str>,
    pub(crate) ask: Ask,
    pub(crate) reply: Reply,
    /// The task of a script that made it, as nobody but the plan can know.
    pub(crate) task: u64,
    /// The instance of a scenario or look-alike that made it; 0 for the background.
    pub(crate) cause: u32,
    /// It need not have been made, because of this.
    pub(crate) wasted: Option<Pattern>,
    pub(crate) conn: Conn,
}

/// What the client does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) body_bytes: u32,
    /// Names the body; the same for the same bytes.
    pub(crate) body: u64,
    pub(crate) is_conditional: bool,
    pub(crate) accepts_coding: bool,
    /// Names the credentials; 0 without any.
    pub(crate) credentials: u64,
    /// It closes the connection so long after the request.
    pub(crate) gives_up_ns: Option<u64>,
    pub(crate) keep: Keep,
}

/// How long a connection lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Until it has not been used for a minute and a half; then the client closes it.
    #[default]
    Alive,
    /// The client closes it behind the response, and has said so.
    ClosedByClient,
    /// The server closes it when it has not been used for five seconds.
    ClosedByServer,
}

/// What the server does.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// 0 when the connection ends without an answer.
    pub(crate) status: u16,
    /// Until the first byte.
    pub(crate) first_byte_ns: u64,
    pub(crate) body_bytes: u32,
    /// Names the body; the same for the same bytes.
    pub(crate) body: u64,
    /// An id in the body that the client goes on with; it is a part of what names the body.
    pub(crate) brings: Option<Box<str>>,
    pub(crate) has_etag: bool,
    pub(crate) max_age_s: Option<u32>,
    pub(crate) no_store: bool,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) rate_limit: Option<RateLimit>,
    /// Authority and target of a redirect.
    pub(crate) location: Option<(&'static str, Box<str>)>,
    pub(crate) content: Content,
    pub(crate) is_coded: bool,
    pub(crate) is_deprecated: bool,
}

/// The connection of a call, given when all calls of a process are in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conn {
    pub(crate) number: u64,
    /// Which request of it, from 0.
    pub(crate) ordinal: u64,
}

impl Planned {
    /// Last byte of the response, or when either end gave up.
    pub(crate) fn end_ns(&self) -> u64 {
        let whole_ns = self.reply.first_byte_ns + u64::from(self.reply.body_bytes) * NS_PER_BYTE;
        self.start_ns + self.ask.gives_up_ns.map_or(whole_ns, |gives_up_ns| gives_up_ns.min(whole_ns))
    }

    /// The client gave up before the response was over.
    pub(crate) fn is_aborted(&self) -> bool {
        let whole_ns = self.reply.first_byte_ns + u64::from(self.reply.body_bytes) * NS_PER_BYTE;
        self.reply.status == 0 || self.ask.gives_up_ns.is_some_and(|gives_up_ns| gives_up_ns < whole_ns)
    }

    /// How it ends hangs on who is first: the client gives up, or the connection ends without an answer.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.reply.status == 0 || self.ask.gives_up_ns.is_some()
    }

    /// As a line of the plan: everything that a player of it needs, and the truth.
    pub(crate) fn json(&self, world: &World) -> Value {
        let terms = self.api.terms();
        let Reply { status, first_byte_ns, body_bytes, body, .. } = self.reply;
        let process = world.process(self.process);
        json!({
            "kind": "call", "t_ns": self.start_ns, "pid": process.pid, "game": world.game(self.process).name,
            "method": terms.method, "authority": self.api.authority(), "endpoint": terms.endpoint,
            "target": self.target,
            "conn": self.conn.number, "ordinal": self.conn.ordinal,
            "ask": {
                "body_bytes": self.ask.body_bytes, "body": self.ask.body, "conditional": self.ask.is_conditional,
                "accept_encoding": self.ask.accepts_coding, "credentials": self.ask.credentials,
                "gives_up_ns": self.ask.gives_up_ns, "close": self.ask.keep == Keep::ClosedByClient,
            },
            "reply": {
                "status": status, "first_byte_ns": first_byte_ns, "body_bytes": body_bytes, "body": body,
                "brings": self.reply.brings, "etag": self.reply.has_etag, "max_age_s": self.reply.max_age_s, "no_store": self.reply.no_store,
                "retry_after_s": self.reply.retry_after_s,
                "rate_limit": self.reply.rate_limit.map(|limit| [limit.limit, limit.remaining, limit.reset_s.unwrap_or(0)]),
                "location": self.reply.location.as_ref().map(|(authority, target)| format!("https://{authority}{target}")),
                "content_type": content_type(self.reply.content),
                "content_encoding": self.reply.is_coded.then_some("gzip"), "deprecated": self.reply.is_deprecated,
                "closes_idle_s": (self.ask.keep == Keep::ClosedByServer).then_some(5),
            },
            "task": self.task, "cause": self.cause, "wasted": self.wasted.map(Pattern::name),
        })
    }
}

/// As in `Content-Type`.
pub(crate) fn content_type(content: Content) -> Option<&'static str> {
    match content {
        Content::Unknown => None,
        Content::Text => Some("application/json"),
        Content::Binary => Some("application/octet-stream"),
        Content::Stream => Some("text/event-stream"),
    }
}

/// How far from the thresholds of its detector a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Intensity {
    /// Nobody could miss it.
    Clear,
    /// A little above the threshold of a warning.
    Above,
    /// Below it: nobody has to warn.
    Below,
}

impl Intensity {
    pub(crate) const ALL: [Intensity; 3] = [Intensity::Clear, Intensity::Above, Intensity::Below];

    pub(crate) fn name(self) -> &'static str {
        ["clear", "above", "below"][self as usize]
    }
}

/// What is true of an episode.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    /// As in the table of scenarios.
    pub(crate) scenario: &'static str,
    pub(crate) cause: u32,
    pub(crate) pattern: Pattern,
    pub(crate) process: u32,
    /// Index of the game.
    pub(crate) game: usize,
    pub(crate) api: Api,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Calls that belong to it.
    pub(crate) calls: u64,
    /// Calls that need not have been made, in closed form.
    pub(crate) wasted_calls: f64,
    /// Bytes of bodies that need not have been moved, of patterns that waste bytes alone.
    pub(crate) wasted_bytes: f64,
    pub(crate) class: Class,
    /// Nobody can be sure that it is waste: that it is told at all is enough.
    pub(crate) is_told_only: bool,
    pub(crate) intensity: Intensity,
}

impl Episode {
    /// As a line of the plan.
    pub(crate) fn json(&self, world: &World) -> Value {
        json!({
            "kind": "episode", "scenario": self.scenario, "cause": self.cause, "pattern": self.pattern.name(),
            "game": world.game(self.process).name, "pid": world.process(self.process).pid,
            "method": self.api.terms().method, "endpoint": self.api.terms().endpoint,
            "t0_ns": self.start_ns, "t1_ns": self.end_ns, "calls": self.calls,
            "expected": { "calls": self.wasted_calls, "bytes": self.wasted_bytes },
            "class": self.class.name(), "told_only": self.is_told_only, "intensity": self.intensity.name(),
        })
    }
}
