//! The application's account, read from an option file as MySQL's client programs take it.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::Secret;

/// Who writes, and into which schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub user: String,
    pub password: Secret,
    pub database: String,
}

/// Reads `user`, `password` and `database`, whatever group they stand in.
pub(super) fn read(file: &Path) -> anyhow::Result<Login> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "no account to write with: {} cannot be read. `weir cluster up` writes it; for [[servers]] \
             write one with [client] user, password and database, and name it by --login",
            file.display()
        )
    })?;
    let text = zeroize::Zeroizing::new(text);
    let find = |key: &str| value(&text, key);
    let (Some(user), Some(database)) = (find("user"), find("database")) else {
        bail!("{} names no user or no database", file.display());
    };
    Ok(Login { user, password: Secret::new(find("password").unwrap_or_default()), database })
}

/// The last value of a key; quotes around it are taken off.
fn value(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().rev().filter(|line| !line.trim_start().starts_with(['#', ';']));
    let value = lines
        .filter_map(|line| line.split_once('='))
        .find_map(|(name, value)| (name.trim() == key).then(|| value.trim()))?;
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Some(match quoted {
        Some(inner) => unescaped(inner),
        None => value.to_owned(),
    })
}

/// A backslash makes the next character an ordinary one, as `weir cluster up` writes it.
fn unescaped(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.cnf");
        let error = read(&file).unwrap_err();
        assert!(format!("{error:#}").contains("--login"), "{error:#}");
        let text = "[client]\nuser = \"app\"\n#password = x\npassword = \"a\\\\b\\\"c\"\n\n[mysql]\ndatabase=db\n";
        std::fs::write(&file, text).unwrap();
        let login = read(&file).unwrap();
        assert_eq!((login.user.as_str(), login.database.as_str()), ("app", "db"));
        assert_eq!(login.password.expose(), "a\\b\"c");
        std::fs::write(&file, "[client]\nuser = app\n").unwrap();
        assert!(read(&file).is_err());
    }
}
