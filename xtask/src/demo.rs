//! Given: nothing. Gives: nothing yet.
pub(crate) fn run(_: Option<std::time::Duration>) -> anyhow::Result<()> {
    Ok(())
}
