//! Given: the path of the dictionary of endpoints. Gives: what stands there, and it is there again. Refuses to know: what was
//! learned.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::config::Config;
use crate::endpoint::learned::Dictionary;

/// Bytes that are read of a file at most: the largest dictionary has less.
const BYTES_MAX: u64 = 64 << 20;

/// The dictionary that a configuration names, for a command that is told of paths and keeps nothing.
pub(super) fn of(config: &Config) -> anyhow::Result<Option<Dictionary>> {
    config.endpoints.dictionary.as_deref().map_or(Ok(None), read)
}

/// The dictionary that was written; none when there is no file yet.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Dictionary>> {
    let of = || format!("read the dictionary of endpoints {}", path.display());
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > BYTES_MAX => anyhow::bail!("{}: it is too large", of()),
        Ok(_) => fs::read(path).with_context(of)?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why).with_context(of),
    };
    Dictionary::load(&bytes).map(Some).with_context(of)
}

/// Puts the dictionary in the place of the one before: whoever reads finds one of the two whole. It says who calls
/// whom, so others may not read it.
pub(super) fn write(path: &Path, dictionary: &Dictionary) -> anyhow::Result<()> {
    let of = || format!("write the dictionary of endpoints {}", path.display());
    let new = path.with_added_extension("new");
    // Opening what is there would leave it readable by whom it was.
    match fs::remove_file(&new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why).with_context(of),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).with_context(of)?;
    file.write_all(&dictionary.save()).and_then(|()| file.sync_all()).with_context(of)?;
    fs::rename(&new, path).with_context(of)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::endpoint::{Endpoints, Settings, learned::Source};

    #[test]
    fn what_is_written_is_read_again_and_no_other_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("endpoints.json");
        assert_eq!(read(&path).unwrap(), None);
        let mut endpoints = Endpoints::new(&Settings::default(), &[]).unwrap();
        endpoints.resolve_of(Some("a.x"), "GET", "/v1/users", || Some(Source::new(1, None)));
        for _ in 0..2 {
            fs::write(path.with_added_extension("new"), b"left by a crash").unwrap();
            write(&path, endpoints.learned()).unwrap();
            assert_eq!(read(&path).unwrap().as_ref(), Some(endpoints.learned()));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_command_takes_what_the_configuration_names() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        assert_eq!(of(&config).unwrap(), None);
        let path = directory.path().join("endpoints.json");
        config.endpoints.dictionary = Some(path.clone());
        assert_eq!(of(&config).unwrap(), None);
        // More names than routes have, each called by one process.
        let letter = |number: u8| char::from(b'a' + number);
        let slug = |number: u8| format!("/v1/games/temple{}{}/icon", letter(number / 8), letter(number % 8));
        let mut endpoints = Endpoints::new(&Settings::default(), &[]).unwrap();
        for number in 0..64 {
            endpoints
                .resolve_of(Some("a.x"), "GET", &slug(number), || Some(Source::new(number.into(), None)));
        }
        endpoints.settle();
        write(&path, endpoints.learned()).unwrap();
        let named = |learned: Option<Dictionary>| {
            let mut endpoints = Endpoints::new(&Settings::default(), &[]).unwrap();
            learned.into_iter().for_each(|learned| endpoints.learn(learned));
            endpoints.resolve_of(Some("a.x"), "GET", &slug(3), || None).endpoint.to_string()
        };
        assert_ne!(named(of(&config).unwrap()), named(None));
        assert_eq!(of(&config).unwrap().map(|learned| learned.label()), Some(endpoints.learned().label()));
        fs::write(&path, b"{}").unwrap();
        assert!(of(&config).is_err());
    }

    #[test]
    fn a_broken_file_is_told_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("endpoints.json");
        fs::write(&path, b"{}").unwrap();
        let why = format!("{:#}", read(&path).unwrap_err());
        assert!(why.ends_with("endpoints.json: this is no dictionary of endpoints"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"{}");
    }
}
