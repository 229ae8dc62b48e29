//! Given: this machine's Python and OpenSSL. Gives: a directory with all that the demo runs: an interpreter of its own, the
//! scripts, a certificate, the daemon's configuration. Refuses to know: who runs when.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::repository::{output, program};

/// The distribution's Python, which uses the distribution's OpenSSL.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

const FILES: [(&str, &str); 3] = [
    ("api_server.py", include_str!("../../demo/api_server.py")),
    ("games.py", include_str!("../../demo/games.py")),
    ("catalogue.toml", include_str!("../../demo/catalogue.toml")),
];

/// The directory of one demo; it goes away with this value.
pub(super) struct Stage {
    directory: TempDir,
    /// Where the daemon serves `/metrics`.
    pub(super) listen: SocketAddr,
}

impl Stage {
    pub(super) fn set() -> anyhow::Result<Stage> {
        let directory =
            tempfile::Builder::new().prefix("rotrace-demo-").tempdir().context("make a directory")?;
        let stage = Stage { directory, listen: free_address()? };
        for (name, text) in FILES {
            fs::write(stage.file(name), text).with_context(|| format!("write {name}"))?;
        }
        // The games are the only processes with this executable, so the rule below can select no other.
        fs::copy(fs::canonicalize(PYTHON).with_context(|| format!("find {PYTHON}"))?, stage.game_server())
            .context("copy Python")?;
        certificate(stage.path(), "IP:127.0.0.1")?;
        fs::write(stage.config(), stage.config_text()).context("write the configuration")?;
        Ok(stage)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn game_server(&self) -> PathBuf {
        self.file("game-server")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.file("rotrace.toml")
    }

    fn config_text(&self) -> String {
        format!(
            "[[target]]\nexe = \"{}\"\n\n[[game]]\ncmdline = '--game=(?P<game>[a-z-]+)'\n\n[metrics]\nlisten = \"{}\"\n\n\
             [catalogue]\nfiles = [\"{}\"]\n\n[detect]\nloopback = true\n",
            self.game_server().display(),
            self.listen,
            self.file("catalogue.toml").display()
        )
    }
}

/// Puts a key and a certificate, key.pem and cert.pem, into a directory: for these names, signed with itself, for a day.
pub(crate) fn certificate(place: &Path, names: &str) -> anyhow::Result<()> {
    if program("openssl").is_none() {
        bail!("a certificate needs openssl: run `cargo xtask setup --for test`");
    }
    output(
        Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=rotrace demo",
            ])
            .args(["-addext", &format!("subjectAltName={names}"), "-keyout"])
            .arg(place.join("key.pem"))
            .arg("-out")
            .arg(place.join("cert.pem")),
    )
    .context("make a certificate")?;
    Ok(())
}

/// An address that nobody listens on now.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}
