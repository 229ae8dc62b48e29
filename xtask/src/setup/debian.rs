//! Given: packages. Gives: those packages, installed. Refuses to know: what they are for.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use super::Need;
use crate::repository::{command, output, program, run};

/// Asked by Debian's packages before they start a service of theirs; 101 means "do not"
/// (<https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt>).
const POLICY: &str = "/usr/sbin/policy-rc.d";

const POLICY_TEXT: &str = "#!/bin/sh\n# Written by `cargo xtask setup` for as long as it runs.\nexit 101\n";

/// Packages with services of their own that the tests start themselves, when they need them.
const SERVICES: [(&str, &[&str]); 3] = [
    ("nginx-light", &["nginx"]),
    ("lighttpd", &["lighttpd"]),
    ("prometheus", &["prometheus", "prometheus-node-exporter"]),
];

/// Installs packages; the lists are brought up to date once.
#[derive(Default)]
pub(super) struct Apt {
    updated: bool,
}

impl Apt {
    pub(super) fn install(&mut self, needs: &[&Need<'_>]) -> anyhow::Result<()> {
        if needs.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = needs.iter().map(|need| need.package).collect();
        if !rustix::process::geteuid().is_root() {
            bail!(
                "these packages are missing, and installing them needs root: {}; run as root `apt-get install \
                 --no-install-recommends {}`, or this command",
                names.join(", "),
                names.join(" ")
            );
        }
        for need in needs {
            println!("set-up: apt-get install {} ({})", need.package, need.why);
        }
        if !self.updated {
            run(command("apt-get").args(["-qq", "update"])).context("bring the package lists up to date")?;
            self.updated = true;
        }
        let quiet = Quiet::begin()?;
        let installed = run(command("apt-get")
            .args(["-qq", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "install"])
            .args(&names)
            .env("DEBIAN_FRONTEND", "noninteractive"));
        drop(quiet);
        installed.context(
            "install packages; rustc-web and its LLVM are in Debian 12's security updates: is bookworm-security \
             among the apt sources?",
        )?;
        keep_services_off(&names)
    }
}

/// Whether dpkg has a package in order.
pub(super) fn is_installed(package: &str) -> bool {
    output(command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// While it lives, the packages that are installed start no services. A policy that is there stays, whatever it says:
/// it is the owner's word.
struct Quiet {
    written: Option<&'static Path>,
}

impl Quiet {
    fn begin() -> anyhow::Result<Quiet> {
        let policy = Path::new(POLICY);
        let file = fs::OpenOptions::new().write(true).create_new(true).open(policy);
        match file {
            Ok(_) => {
                let quiet = Quiet { written: Some(policy) };
                fs::write(policy, POLICY_TEXT).with_context(|| format!("write {POLICY}"))?;
                fs::set_permissions(policy, fs::Permissions::from_mode(0o755))
                    .with_context(|| format!("make {POLICY} executable"))?;
                Ok(quiet)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Quiet { written: None }),
            Err(error) => {
                Err(error).with_context(|| format!("create {POLICY}, so that no service is started"))
            }
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(policy) = self.written {
            // Nothing can be done about a failure here, and the file says who wrote it.
            let _ = fs::remove_file(policy);
        }
    }
}

/// Services that were just installed do not start with the machine either. Those that were there before are not ours.
fn keep_services_off(installed: &[&str]) -> anyhow::Result<()> {
    if program("systemctl").is_none() || !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (package, services) in SERVICES {
        if !installed.contains(&package) {
            continue;
        }
        for service in services {
            if output(command("systemctl").args(["is-enabled", service])).is_ok() {
                println!("set-up: systemctl disable {service} (tests start it when they need it)");
                run(command("systemctl").args(["--quiet", "disable", service]))?;
            }
        }
    }
    Ok(())
}
