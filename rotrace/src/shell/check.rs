//! Given: this host, and perhaps a process and a configuration. Gives: what can be seen here and what will be missed, in
//! plain words. Refuses to know: how anything is probed. Nothing is attached, unless that is asked for.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;

use super::cli;
use super::output::Format;
use crate::attribute::{Facts, Games};
use crate::config::{self, Config};
use crate::probe::host::{CAP_SYS_ADMIN, CAPABILITIES, Family, Host};
use crate::probe::library;
use crate::probe::tls::Means;
use crate::probe::{Probes, Settings};
use crate::process::Procfs;

/// What no probes see, for people.
const NEVER_SEEN: &str = "Not decoded: HTTP/3. TLS that is not decoded is counted.";

/// How a finding bears on what will be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Something will be missed.
    Missed,
    /// Nothing will be seen.
    Fatal,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    /// What follows from it, for people.
    means: String,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// `rotrace check`: exit status 1 when nothing would be seen.
pub(super) fn check(asked: &cli::Check) -> anyhow::Result<()> {
    let config = asked.config.as_deref().map(config::load).transpose()?;
    let host = Host::read(Path::new("/"));
    let mut findings = of_host(&host, asked.probes);
    if let Some(pid) = asked.pid {
        findings.extend(of_process(pid, config.as_ref())?);
    }
    if asked.load {
        findings.extend(of_programs(&host, asked.probes)?);
    }
    let mut out = io::stdout().lock();
    for finding in &findings {
        match asked.format {
            Format::Json => {
                writeln!(out, "{}", serde_json::to_string(&Line { r#type: "check", finding })?)?;
            }
            Format::Text => {
                let Finding { what, verdict, found, means } = finding;
                let mark = match verdict {
                    Verdict::Ok => "ok    ",
                    Verdict::Missed => "missed",
                    Verdict::Fatal => "fatal ",
                };
                writeln!(out, "{mark} {what:<12} {found}")?;
                if !means.is_empty() {
                    writeln!(out, "{:20}{means}", "")?;
                }
            }
        }
    }
    out.flush()?;
    match findings.iter().find(|finding| finding.verdict == Verdict::Fatal) {
        None => Ok(()),
        Some(finding) => bail!("nothing can be seen on this host: {}", finding.found),
    }
}

fn finding(
    what: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    means: impl Into<String>,
) -> Finding {
    Finding { what, verdict, found: found.into(), means: means.into() }
}

fn of_host(host: &Host, asked: Option<Family>) -> Vec<Finding> {
    let mut findings = vec![finding("kernel", Verdict::Ok, host.release.clone(), "")];
    findings.push(match host.btf_bytes {
        Some(bytes) => finding("BTF", Verdict::Ok, format!("/sys/kernel/btf/vmlinux, {bytes} bytes"), ""),
        None => finding("BTF", Verdict::Fatal, "none", "The probes need the types of the kernel."),
    });
    for (index, (bit, name, purpose)) in CAPABILITIES.into_iter().enumerate() {
        let (verdict, found) = match (host.may(bit), index) {
            (true, _) => (Verdict::Ok, format!("{name}: there")),
            (false, 0 | 1) => (Verdict::Fatal, format!("{name}: missing")),
            (false, _) => (Verdict::Missed, format!("{name}: missing")),
        };
        findings.push(finding("capability", verdict, found, format!("It {purpose}.")));
    }
    findings.push(match Means::of_this_kernel() {
        Means::Links => finding("TLS", Verdict::Ok, format!("probed by {}", Means::Links), ""),
        means if host.may(CAP_SYS_ADMIN) => finding("TLS", Verdict::Ok, format!("probed by {means}"), ""),
        means => finding(
            "TLS",
            Verdict::Missed,
            format!("probed by {means}"),
            "For those, kernels may ask for CAP_SYS_ADMIN, which is missing. Without it TLS is only counted there.",
        ),
    });
    findings.push(finding(
        "lockdown",
        if host.lockdown.as_deref() == Some("confidentiality") { Verdict::Fatal } else { Verdict::Ok },
        host.lockdown.clone().unwrap_or_else(|| "none".to_owned()),
        "",
    ));
    if let Some(clock) = &host.clocksource {
        let slow = !matches!(clock.as_str(), "tsc" | "kvm-clock" | "arch_sys_counter");
        let means = if slow { "Reading it is slow, and every record reads it." } else { "" };
        findings.push(finding("clock", Verdict::Ok, clock.clone(), means));
    }
    if host.may_be_preempted() {
        findings.push(finding(
            "preemption",
            Verdict::Ok,
            host.preemption.clone().unwrap_or_else(|| "possible, as far as the kernel says".to_owned()),
            "Probes at the kernel's functions are attached twice: the second sees what the first was not run for.",
        ));
    }
    if host.is_nested {
        findings.push(finding(
            "PIDs",
            Verdict::Ok,
            "of a PID namespace of its own",
            "PIDs are those of this namespace.",
        ));
    }
    findings.push(match host.families(asked) {
        Ok(families) => {
            let found: Vec<_> =
                families.iter().map(|family| format!("{}, {}", family.name(), family.place())).collect();
            let missed =
                families.iter().map(|family| format!("Not seen by {}: {}.", family.name(), family.misses()));
            finding(
                "probes",
                Verdict::Ok,
                found.join("; where the kernel refuses that: "),
                missed.chain([NEVER_SEEN.to_owned()]).collect::<Vec<_>>().join(" "),
            )
        }
        Err(refusal) => finding("probes", Verdict::Fatal, "none", refusal.to_string()),
    });
    findings
}

/// Loads and attaches the probes. Nothing is a target, so nothing is recorded, and they are gone when this returns.
fn of_programs(host: &Host, asked: Option<Family>) -> anyhow::Result<Vec<Finding>> {
    let probes = Probes::load(host, Settings { family: asked, ..Settings::default() })?;
    let programs = probes.programs().into_iter().map(|program| {
        let found = match program.verified_instructions {
            Some(count) => format!("{}: {count} instructions verified", program.name),
            None => format!("{}: this kernel does not say how many instructions it verified", program.name),
        };
        finding("program", Verdict::Ok, found, "")
    });
    Ok(programs.collect())
}

fn of_process(pid: u32, config: Option<&Config>) -> anyhow::Result<Vec<Finding>> {
    let procfs = Procfs::new("/proc", Path::new("/etc/passwd"));
    let process = procfs.process(pid).with_context(|| format!("process {pid}"))?;
    let mut findings = vec![finding(
        "process",
        Verdict::Ok,
        format!("{pid}: {}", process.exe().unwrap_or("no executable")),
        "",
    )];
    if process.is_exe_deleted() {
        findings.push(finding(
            "executable",
            Verdict::Ok,
            "removed or replaced since the process started",
            "Rules see the path that it had, and TLS is read in the file that runs.",
        ));
    }
    if let Some(config) = config {
        let rules = config.rules();
        let is_target = rules.matches_target(&process);
        findings.push(finding(
            "target",
            if is_target || config.targets.is_empty() { Verdict::Ok } else { Verdict::Missed },
            if is_target { "a [[target]] rule selects it" } else { "no [[target]] rule selects it" },
            if is_target { "" } else { "`rotrace run` will not watch it; `rotrace attach` does." },
        ));
        let game = rules.game_of_process(&process, &mut Games::default()).game;
        findings.push(match game {
            Some(game) => finding("game", Verdict::Ok, &*game, ""),
            None => finding(
                "game",
                Verdict::Missed,
                "none",
                "No [[game]] rule names it; its calls are of the game `unknown`.",
            ),
        });
    }
    let told = config.map(|config| config.tls.libraries.clone()).unwrap_or_default();
    let mut covered = Vec::new();
    match library::scan(&process, &mut library::Cache::new(told), &mut |library| covered.push(library.name)) {
        Ok(scan) => {
            for name in &covered {
                findings.push(finding(
                    "TLS",
                    Verdict::Ok,
                    name.clone(),
                    "Its calls are read before they are encrypted.",
                ));
            }
            for uncovered in &scan.uncovered {
                let means = if uncovered.can_be_told() {
                    "Its connections are counted, and not decoded until [[tls.library]] says where its functions are."
                } else {
                    "Its connections are counted, and not decoded."
                };
                findings.push(finding("TLS", Verdict::Missed, uncovered.to_string(), means));
            }
            if covered.is_empty() && scan.uncovered.is_empty() {
                findings.push(finding(
                    "TLS",
                    Verdict::Ok,
                    "no TLS library is mapped",
                    "One that is loaded later will be found.",
                ));
            }
            if scan.unread > 0 {
                let found = format!("{} mapped files could not be looked at", scan.unread);
                findings.push(finding(
                    "TLS",
                    Verdict::Missed,
                    found,
                    "A TLS library among them would not be found.",
                ));
            }
        }
        Err(why) => {
            findings.push(finding("TLS", Verdict::Missed, format!("cannot look at its files: {why}"), ""))
        }
    }
    Ok(findings)
}
