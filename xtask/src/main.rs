//! Given: a command. Gives: set-up, builds, the demo, tests and benches. Refuses to know: anything a user needs at
//! run time.

fn main() -> anyhow::Result<()> {
    Ok(())
}
