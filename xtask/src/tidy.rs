//! Given: the text of this repository. Gives: tests of what no compiler checks: headers of files, their length, the
//! order of modules, reasons of dependencies, and that nothing speaks of the machine it was written on. Refuses to know:
//! what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::repository::{command, output, root};

/// Lines of a file that need no excuse; a longer one says "long because" in its header.
const LINES_MAX: usize = 500;
const EXCUSE: &str = "long because";

/// Modules of `rotrace` in pipeline order: one uses only what stands before it, or beside it in its own row.
const ORDER: [&[&str]; 26] = [
    &["capture"],
    &["stream"],
    &["conn"],
    &["http"],
    &["keyed"],
    &["cache"],
    &["exchange"],
    &["redact"],
    &["attribute"],
    &["endpoint"],
    &["catalogue"],
    &["call"],
    &["cost"],
    &["summary"],
    &["detect"],
    &["accounts"],
    &["pipeline"],
    &["metrics"],
    &["report"],
    &["tui"],
    &["process"],
    &["probe"],
    &["config"],
    &["shell"],
    &["args"],
    &["main"],
];

/// Directories of people, of which a path in this repository would speak of the machine that it was written on.
const PLACES: [&str; 3] = ["work", "root", "home"];

/// Commands of the daemon: the contract that scripts rely on.
const COMMANDS: [&str; 6] = ["run", "attach", "report", "check", "endpoints", "cost"];

/// A text file of this repository.
struct Text {
    name: String,
    content: String,
}

/// All text files that are in the repository or would be with the next `git add`.
fn texts() -> Vec<Text> {
    let listed = output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))
        .expect("git can list the files of this repository");
    listed
        .lines()
        .filter(|name| root().join(name).is_file())
        .filter_map(|name| {
            let content = String::from_utf8(fs::read(root().join(name)).ok()?).ok()?;
            Some(Text { name: name.to_owned(), content })
        })
        .collect()
}

fn texts_named(accept: impl Fn(&str) -> bool) -> Vec<Text> {
    let texts: Vec<_> = texts().into_iter().filter(|text| accept(&text.name)).collect();
    assert!(!texts.is_empty(), "no file is checked");
    texts
}

fn is_rust(name: &str) -> bool {
    name.ends_with(".rs")
}

/// Fails with one line for each fault.
#[track_caller]
fn none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<String> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn header(content: &str) -> String {
    let lines = content.lines().map_while(|line| line.strip_prefix("//!"));
    lines.fold(String::new(), |header, line| header + line.trim() + " ")
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    none(
        texts_named(is_rust).iter().filter(|text| header(&text.content).is_empty()).map(|text| {
            format!("{}: begins with no `//!` (Given: … Gives: … Refuses to know: …)", text.name)
        }),
    );
}

#[test]
fn long_files_say_why() {
    none(texts_named(is_rust).iter().filter_map(|text| {
        let lines = text.content.lines().count();
        let excused = lines <= LINES_MAX || header(&text.content).contains(EXCUSE);
        (!excused).then(|| format!("{}: {lines} lines; split it, or say in `//!` \"{EXCUSE} …\"", text.name))
    }));
}

#[test]
fn the_contract_does_not_link_the_kernel_library() {
    // Linked into the daemon, the library of the probes would replace its `memcpy`.
    let library = |name: &str| {
        name.starts_with("rotrace-ebpf/src/") && !name.contains("/probes") && !name.ends_with("/main.rs")
    };
    none(
        texts_named(library)
            .iter()
            .filter(|text| text.content.contains("aya_ebpf"))
            .map(|text| format!("{}: names aya_ebpf; only the probes and main.rs may", text.name)),
    );
}

#[test]
fn every_dependency_has_a_reason() {
    let manifests = texts_named(|name| name.ends_with("Cargo.toml"));
    none(manifests.iter().flat_map(|text| {
        unexplained(&text.content).into_iter().map(|line| format!("{}: no `# reason`: {line}", text.name))
    }));
}

/// Dependencies of a manifest without a comment on their line.
fn unexplained(manifest: &str) -> Vec<&str> {
    let mut among_dependencies = false;
    let mut lines = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            among_dependencies = line.contains("dependencies");
        } else if among_dependencies && !line.starts_with('#') && line.contains('=') && !line.contains(" # ")
        {
            lines.push(line);
        }
    }
    lines
}

#[test]
fn nothing_is_left_to_do() {
    // Put together, so that this file does not name what it looks for.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    none(texts().iter().flat_map(|text| {
        let lines = text.content.lines().enumerate();
        lines
            .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
            .map(|(number, line)| format!("{}:{}: {}", text.name, number + 1, line.trim()))
    }));
}

#[test]
fn nothing_speaks_of_the_machine_it_was_written_on() {
    none(texts().iter().flat_map(|text| {
        let lines = text.content.lines().enumerate();
        lines
            .filter(|(_, line)| speaks_of_a_machine(line))
            .map(|(number, line)| format!("{}:{}: {}", text.name, number + 1, line.trim()))
    }));
}

/// Whether a line has a path that begins with one of the places of people.
fn speaks_of_a_machine(line: &str) -> bool {
    PLACES.iter().any(|place| {
        let path = format!("/{place}/");
        line.match_indices(&path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "/.}_-*".contains(c))
        })
    })
}

#[test]
fn modules_use_only_what_stands_before_them() {
    let sources = texts_named(|name| is_rust(name) && name.starts_with("rotrace/src/"));
    none(sources.iter().flat_map(|text| {
        let inside = text.name.trim_start_matches("rotrace/src/").trim_end_matches(".rs");
        let module = inside.split('/').next().unwrap_or(inside);
        // Tests may use what stands after them, as pictures of how they are used.
        let code = text.content.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = inside.ends_with("/tests") || inside.contains("/tests/");
        let excused = ["lib", "main"].contains(&module) || is_test;
        let used = if excused { BTreeSet::new() } else { used(code) };
        used.into_iter()
            .filter_map(move |other| misplaced(module, &other).map(|why| format!("{}: {why}", text.name)))
    }));
}

/// Modules of the crate that a text names.
fn used(code: &str) -> BTreeSet<String> {
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .flat_map(|rest| {
            // `crate::{a, b::c}` names several.
            let names = rest.strip_prefix('{').and_then(|list| list.split('}').next()).unwrap_or(rest);
            let several = rest.starts_with('{');
            names.split(',').take(if several { usize::MAX } else { 1 }).map(first_word).collect::<Vec<_>>()
        })
        .filter(|name| name.chars().next().is_some_and(char::is_lowercase))
        .collect()
}

fn first_word(text: &str) -> String {
    text.trim().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
}

/// Why one module must not use another.
fn misplaced(module: &str, other: &str) -> Option<String> {
    let place = |name: &str| ORDER.iter().position(|row| row.contains(&name));
    let Some(own) = place(module) else {
        return Some(format!("module {module} has no place in the order in xtask/src/tidy.rs"));
    };
    match place(other) {
        None => Some(format!("uses {other}, which has no place in the order in xtask/src/tidy.rs")),
        Some(theirs) if theirs > own => Some(format!("{module} uses {other}, which stands after it")),
        Some(_) => None,
    }
}

#[test]
fn documents_name_commands_that_exist() {
    let own = crate::Arguments::command();
    let own: Vec<&str> = own.get_subcommands().map(clap::Command::get_name).collect();
    let documents =
        texts_named(|name| name.ends_with(".md") || name.ends_with(".toml") || name.starts_with(".ci/"));
    none(documents.iter().flat_map(|text| {
        let tasks = named(&text.content, "cargo xtask ");
        let tasks = tasks.iter().filter(|name| !own.contains(&name.as_str()));
        // In prose rotrace does this and that; in code it is followed by a command.
        let daemon = text.content.split('`').skip(1).step_by(2).flat_map(|code| {
            code.lines().filter_map(|line| {
                line.trim_start_matches("$ ").trim_start_matches("sudo ").strip_prefix("rotrace ")
            })
        });
        let daemon = daemon.map(word).filter(|name| !name.is_empty() && !COMMANDS.contains(&name.as_str()));
        let faults = tasks.map(|name| format!("{}: there is no `cargo xtask {name}`", text.name));
        faults
            .chain(daemon.map(|name| format!("{}: there is no `rotrace {name}`", text.name)))
            .collect::<Vec<_>>()
    }));
}

/// The words that follow a command's name.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(prefix).skip(1).map(word).filter(|word| !word.is_empty()).collect()
}

/// The command that a text begins with; nothing where it begins with an option.
fn word(text: &str) -> String {
    let word: String = text.chars().take_while(|&c| c.is_ascii_lowercase() || c == '-').collect();
    if word.starts_with('-') { String::new() } else { word }
}

#[test]
fn links_of_documents_lead_somewhere() {
    let documents = texts_named(|name| name.ends_with(".md"));
    none(documents.iter().flat_map(|text| {
        let directory = root().join(&text.name).parent().map(Path::to_owned).unwrap_or_default();
        links(&text.content)
            .into_iter()
            .filter(|link| !directory.join(link).exists())
            .map(|link| format!("{}: leads nowhere: {link}", text.name))
            .collect::<Vec<_>>()
    }));
}

/// The files that a document links to. What stands between back-ticks is code.
fn links(document: &str) -> Vec<&str> {
    let prose = document.split('`').step_by(2);
    prose
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains(':'))
        .collect()
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(
        unexplained("[dependencies]\na = \"1\" # why\n# x = 1\nb = \"2\"\n[lints]\nc = 1\n"),
        ["b = \"2\""]
    );
    assert!(speaks_of_a_machine(concat!("see /wo", "rk/notes")));
    assert!(speaks_of_a_machine(concat!("\"/ro", "ot/.cargo\"")));
    assert!(!speaks_of_a_machine("https://example.com/home/x and ../work/y"));
    let code = "use crate::{call::Call, http};\n// crate::probe\nlet a = crate::summary::X; use crate::Y;";
    assert_eq!(used(code).into_iter().collect::<Vec<_>>(), ["call", "http", "summary"]);
    assert_eq!(misplaced("http", "stream"), None);
    assert_eq!(misplaced("http", "http"), None);
    assert!(misplaced("http", "exchange").is_some());
    assert!(misplaced("new", "stream").is_some());
    let words = named("`cargo xtask demo`, cargo xtask --help", "cargo xtask ");
    assert_eq!(words.into_iter().collect::<Vec<_>>(), ["demo"]);
    assert_eq!(links("[a](b.md#c) `[d](e)` [f](https://g) [h](#i)"), ["b.md"]);
}
