//! Given: the captures in `tests/fixtures`. Gives: proof that a report of each says what stands beside it, byte for byte, and
//! the same each time. Refuses to know: how rotrace works; it is driven through its command line alone.
//!
//! `REGENERATE=1 cargo test -p rotrace --test replay` makes the captures below anew, and what is said of every capture: the
//! difference is then for people to judge. A capture that a user sent is put beside them, with nothing said of it here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and says where")]
#![expect(clippy::disallowed_methods, reason = "reads the fixtures")]

#[path = "replay/conversation.rs"]
mod conversation;
#[path = "replay/traffic.rs"]
mod traffic;
#[path = "replay/waste.rs"]
mod waste;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use conversation::Conversation;

const FROM_CLIENT: [&str; 3] = [
    "GET /v1/users/17?page=2&key=secret HTTP/1.1\r\nHost: users.example\r\nCookie: secret\r\n\r\n",
    "POST /v1/orders HTTP/1.1\r\nHost: users.example\r\nContent-Length: 6\r\n\r\nsecret",
    "HEAD /v1/users/18 HTTP/1.1\r\nHost: users.example\r\n\r\n",
];
const FROM_SERVER: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 999\r\n\r\n",
];

#[test]
fn reports_say_what_stands_beside_their_captures() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let regenerate = std::env::var_os("REGENERATE").is_some();
    if regenerate {
        fs::create_dir_all(&fixtures).unwrap();
        for (name, conversation) in made() {
            fs::write(fixtures.join(name).with_extension("rotrace"), conversation.capture()).unwrap();
        }
    }
    let captures = captures(&fixtures);
    assert!(captures.len() >= made().len(), "{captures:?}");
    for capture in captures {
        let said = report(&capture);
        assert_eq!(said, report(&capture), "{}", capture.display());
        let beside = capture.with_extension("json");
        if regenerate {
            fs::write(&beside, &said).unwrap();
        }
        let expect = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(said, expect, "{}", capture.display());
    }
}

#[test]
fn the_captures_are_redacted() {
    for (name, conversation) in made() {
        let capture = conversation.capture();
        assert!(!capture.windows(6).any(|window| window == b"secret"), "{name}");
    }
}

fn captures(fixtures: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(fixtures).unwrap().map(|file| file.unwrap().path());
    let mut captures: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "rotrace")).collect();
    captures.sort();
    captures
}

fn report(capture: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rotrace"));
    let output = command.args(["report", "--format", "json"]).arg(capture).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", capture.display());
    String::from_utf8(output.stdout).unwrap()
}

/// The captures that are made here, by name.
fn made() -> [(&'static str, Conversation); 4] {
    [
        ("keep_alive", keep_alive()),
        ("pipelined", pipelined()),
        ("chunked_with_gaps", chunked_with_gaps()),
        ("joined_late", joined_late()),
    ]
}

/// Three calls, one after the other, the last head in two writes.
fn keep_alive() -> Conversation {
    let mut conversation = Conversation::of_client();
    for (asked, answered) in FROM_CLIENT.into_iter().zip(FROM_SERVER).take(2) {
        conversation.send(asked);
        conversation.receive(answered);
    }
    let (begin, rest) = FROM_CLIENT[2].split_at(20);
    conversation.send(begin);
    conversation.send(rest);
    conversation.receive(FROM_SERVER[2]);
    conversation.close();
    conversation
}

/// A server reads three requests at once, and answers in writes that do not end where its responses do.
fn pipelined() -> Conversation {
    let mut conversation = Conversation::of_server();
    conversation.receive(&FROM_CLIENT.concat());
    let answers = FROM_SERVER.concat();
    let (begin, rest) = answers.split_at(FROM_SERVER[0].len() + 9);
    conversation.send(begin);
    conversation.send(rest);
    conversation.close();
    conversation
}

/// Of the first chunked body the payload was not copied; of the second a record was lost. The third call is whole.
fn chunked_with_gaps() -> Conversation {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut conversation = Conversation::of_client();
    conversation.send(FROM_CLIENT[0]);
    conversation.receive_cut(&format!("{head}1000;a=secret\r\n"), 0x1000);
    conversation.receive("\r\n0\r\nTrailer: secret\r\n\r\n");
    conversation.send(FROM_CLIENT[0]);
    conversation.receive(&format!("{head}6\r\nsecret\r\n"));
    conversation.lose_received(100);
    conversation.receive("\r\n0\r\n\r\n");
    conversation.send(FROM_CLIENT[1]);
    conversation.receive(FROM_SERVER[1]);
    conversation.close();
    conversation
}

/// The first bytes are those of a body, then a call follows. The tracer leaves before the connection ends.
fn joined_late() -> Conversation {
    let mut conversation = Conversation::joined_late();
    conversation.receive("the secret end of a body");
    conversation.send(FROM_CLIENT[1]);
    conversation.receive(FROM_SERVER[1]);
    conversation.send(FROM_CLIENT[0]);
    conversation
}
