//! Given: tests/requirements.txt. Gives: a Python environment with just that in target/venv. Refuses to know: which test
//! uses it.

use std::fs;

use anyhow::Context;

use crate::repository::{command, root, run};

/// Made again whenever the requirements are not those that it was made of.
pub(super) fn set_up() -> anyhow::Result<()> {
    let requirements = root().join("tests/requirements.txt");
    let wanted = fs::read(&requirements).with_context(|| format!("read {}", requirements.display()))?;
    let venv = root().join("target/venv");
    // Written last: an environment that was not finished has none.
    let made_of = venv.join("requirements.txt");
    if fs::read(&made_of).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    println!("set-up: target/venv (requests, httpx and aiohttp are clients in live tests)");
    run(command("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv))
        .context("make a Python environment; Debian's package python3-venv is needed")?;
    run(command(venv.join("bin/pip"))
        .args(["--quiet", "--disable-pip-version-check", "install", "--requirement"])
        .arg(&requirements))
    .context("install the Python packages of tests/requirements.txt")?;
    fs::write(&made_of, wanted).with_context(|| format!("write {}", made_of.display()))
}
