//! Who may ask over HTTP: whoever can read one file in the state directory, and those it is given to.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::config::Secret;

/// In the state directory, mode 0600.
pub const FILE: &str = "admin-token";
/// Of chance in a token.
const TOKEN_BYTES: usize = 32;
/// A file with less was not written by Weir, or not wholly.
const LEAST_CHARS: usize = 32;

/// The token of that state directory; made at the first start and kept from then on.
///
/// # Errors
/// It cannot be read or written, others may read it, or it is too short to be one; in words.
pub fn load_or_make(state_dir: &Path) -> io::Result<Secret> {
    let path = state_dir.join(FILE);
    if !path.exists() {
        make(state_dir, &path)?;
    }
    let wrong = |what: &str| {
        let text = format!("{} {what}; or remove it, and Weir makes a new one", path.display());
        Err(io::Error::new(ErrorKind::InvalidData, text))
    };
    if fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
        return wrong("can be read by others: chmod 600 it");
    }
    let text = zeroize::Zeroizing::new(fs::read_to_string(&path)?);
    let token = text.trim();
    if token.len() < LEAST_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("holds no token: write 32 or more letters and digits");
    }
    Ok(Secret::new(token.to_owned()))
}

/// Whether the value of an `Authorization` header has the token. Takes as long for a token that is nearly right as
/// for one that is all wrong.
pub(super) fn is_bearer(token: &Secret, header: &[u8]) -> bool {
    let Some((scheme, given)) = header.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ")
        && verify_slices_are_equal(given.trim_ascii(), token.expose().as_bytes()).is_ok()
}

/// Whole or not at all, and never over one that another Weir has made in the same moment.
fn make(state_dir: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let mut bytes = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let unfinished = state_dir.join(format!("{FILE}.{}", std::process::id()));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("state");
        let first = load_or_make(&state_dir).unwrap();
        assert_eq!(first.expose().len(), 2 * TOKEN_BYTES);
        assert_eq!(load_or_make(&state_dir).unwrap(), first);
        let names: Vec<_> = fs::read_dir(&state_dir).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(names, [state_dir.join(FILE)]);
        let mode = fs::metadata(&names[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(load_or_make(&dir.path().join("other")).unwrap(), first);
    }

    #[test]
    fn a_file_that_keeps_no_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        load_or_make(dir.path()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = load_or_make(dir.path()).unwrap_err().to_string();
        assert!(open.contains("chmod 600"), "{open}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "secret", "x".repeat(31).as_str(), "ä".repeat(40).as_str()] {
            fs::write(&path, text).unwrap();
            let short = load_or_make(dir.path()).unwrap_err().to_string();
            assert!(short.contains("remove it"), "{short}");
        }
    }

    #[test]
    fn only_the_whole_token_counts() {
        let token = Secret::new("abcdef".to_owned());
        for header in ["Bearer abcdef", "bearer abcdef", "Bearer  abcdef "] {
            assert!(is_bearer(&token, header.as_bytes()), "{header}");
        }
        for header in
            ["", "Bearer", "Bearer ", "abcdef", "Basic abcdef", "Bearer abcde", "Bearer abcdefg"]
        {
            assert!(!is_bearer(&token, header.as_bytes()), "{header}");
        }
    }
}
