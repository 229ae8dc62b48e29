//! Given: calls of one game server, each with its time. Gives: the capture of them. Refuses to know: what they waste.

use std::collections::BTreeMap;

use rotrace::redact::Kept;

use crate::conversation::{Conversation, capture};

const MS_NS: u64 = 1_000_000;
/// The process has been running for an hour before its first call: what begins is no waste.
const BEGIN_MS: u64 = 3_600_000;

/// What a process calls.
#[derive(Default)]
pub(crate) struct Traffic {
    connections: BTreeMap<u64, Conversation>,
    keeps_bodies: bool,
}

/// What is asked, and what is answered.
#[derive(Clone)]
pub(crate) struct Asked {
    line: String,
    fields: String,
    body: String,
    status: &'static str,
    answer_fields: String,
    answer: String,
    /// Bytes of the answer behind those that are there: the probes count them and do not copy them.
    left_out: u64,
}

/// A `GET` that is answered by nothing much.
pub(crate) fn get(target: &str) -> Asked {
    Asked {
        line: format!("GET {target}"),
        fields: String::new(),
        body: String::new(),
        status: "200 OK",
        answer_fields: String::new(),
        answer: "{}".to_owned(),
        left_out: 0,
    }
}

/// A request with a body.
pub(crate) fn send(method: &str, target: &str, body: &str) -> Asked {
    let fields = format!("Content-Length: {}\r\n", body.len());
    Asked { line: format!("{method} {target}"), fields, body: body.to_owned(), ..get("") }
}

impl Asked {
    /// A field of the request.
    pub(crate) fn with(mut self, field: &str) -> Self {
        self.fields += &format!("{field}\r\n");
        self
    }

    /// Status and reason of the answer.
    pub(crate) fn status(mut self, status: &'static str) -> Self {
        self.status = status;
        self
    }

    /// A field of the answer.
    pub(crate) fn says(mut self, field: &str) -> Self {
        self.answer_fields += &format!("{field}\r\n");
        self
    }

    /// The body of the answer.
    pub(crate) fn answer(mut self, body: &str) -> Self {
        body.clone_into(&mut self.answer);
        self
    }

    /// The answer has so many bytes.
    pub(crate) fn large(mut self, bytes: u64) -> Self {
        self.left_out = bytes - self.answer.len() as u64;
        self
    }

    fn request(&self) -> String {
        format!("{} HTTP/1.1\r\nHost: api.example\r\n{}\r\n{}", self.line, self.fields, self.body)
    }

    fn response(&self) -> String {
        let Asked { status, answer_fields, answer, left_out, .. } = self;
        let (length, body) = match *status {
            "304 Not Modified" => (String::new(), ""),
            _ => (format!("Content-Length: {}\r\n", answer.len() as u64 + left_out), &**answer),
        };
        format!("HTTP/1.1 {status}\r\n{length}{answer_fields}\r\n{body}")
    }
}

impl Traffic {
    /// A call on a connection, from its request to its answer.
    pub(crate) fn call(&mut self, connection: u64, at_ms: u64, lasting_ms: u64, asked: &Asked) -> &mut Self {
        let conversation = self.ask(connection, at_ms, asked);
        conversation.wait_until(time_ns(at_ms + lasting_ms));
        conversation.receive_cut(&asked.response(), asked.left_out);
        self
    }

    /// A call whose connection the process closes before there is an answer.
    pub(crate) fn give_up(&mut self, connection: u64, at_ms: u64, after_ms: u64, asked: &Asked) -> &mut Self {
        self.ask(connection, at_ms, asked);
        self.close(connection, at_ms + after_ms)
    }

    /// The process closes a connection.
    pub(crate) fn close(&mut self, connection: u64, at_ms: u64) -> &mut Self {
        let conversation = self.connections.get_mut(&connection).unwrap();
        conversation.wait_until(time_ns(at_ms));
        conversation.close();
        self
    }

    /// Nothing of it is redacted.
    pub(crate) fn with_bodies(mut self) -> Self {
        self.keeps_bodies = true;
        self
    }

    /// The file. What names the size of a page is no secret, and stays.
    pub(crate) fn capture(&self) -> Vec<u8> {
        let kept = Kept { query_keys: vec!["limit".into()], ..Kept::default() };
        capture(self.connections.values(), Some(kept).filter(|_| !self.keeps_bodies))
    }

    fn ask(&mut self, connection: u64, at_ms: u64, asked: &Asked) -> &mut Conversation {
        let opened_ns = time_ns(at_ms) - 2 * MS_NS;
        let conversation = self
            .connections
            .entry(connection)
            .or_insert_with(|| Conversation::numbered(connection, opened_ns));
        conversation.wait_until(time_ns(at_ms));
        conversation.send(&asked.request());
        conversation
    }
}

fn time_ns(at_ms: u64) -> u64 {
    (BEGIN_MS + at_ms) * MS_NS
}
