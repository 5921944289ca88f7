//! A password: in the file, in a file of its own, or in the environment; exactly one of the three.

use std::ops::Range;

use super::files::read_text;
use super::section::Section;
use super::types::Secret;

/// The longest password file, in bytes; MySQL's own passwords end at 256 in most places.
const MAX_PASSWORD_BYTES: u64 = 4_096;

/// The names of the three keys of one password.
pub(super) struct PasswordKeys {
    pub plain: &'static str,
    pub file: &'static str,
    pub env: &'static str,
}

/// `password`, `password_file`, `password_env`
pub(super) const PASSWORD: PasswordKeys =
    PasswordKeys { plain: "password", file: "password_file", env: "password_env" };

/// `application_password`, `application_password_file`, `application_password_env`
pub(super) const APPLICATION_PASSWORD: PasswordKeys = PasswordKeys {
    plain: "application_password",
    file: "application_password_file",
    env: "application_password_env",
};

/// `etcd_password`, `etcd_password_file`, `etcd_password_env`
pub(super) const ETCD_PASSWORD: PasswordKeys =
    PasswordKeys { plain: "etcd_password", file: "etcd_password_file", env: "etcd_password_env" };

/// Reads the password; `None` when no key is there or when it is wrong (then noted).
pub(super) fn optional(section: &mut Section<'_>, keys: &PasswordKeys) -> Option<Secret> {
    let PasswordKeys { plain, file, env } = keys;
    let given: Vec<&str> =
        [*plain, *file, *env].into_iter().filter(|key| section.has(key)).collect();
    if given.len() > 1 {
        let span = given.last().and_then(|key| section.key_span(key)).unwrap_or_default();
        let what = format!("{} gives one password in {} ways", section.name, given.len());
        let remedy = format!("keep one of `{}`", given.join("`, `"));
        section.source.problems.add(span, what, remedy);
    }
    // All three are read even then, so that each is known and each one's errors are noted.
    let plain =
        section.text(plain, "...").and_then(|text| checked(section, &text.span, text.value));
    let file = from_file(section, file);
    let env = from_env(section, env);
    plain.or(file).or(env)
}

/// Reads the password; its absence is noted as an error.
pub(super) fn required(section: &mut Section<'_>, keys: &PasswordKeys) -> Secret {
    let PasswordKeys { plain, file, env } = keys;
    if ![*plain, *file, *env].iter().any(|key| section.has(key)) {
        let what = format!("{} has no password", section.name);
        section.absent(
            what,
            format!(
                "add one of {plain} = \"...\", {file} = \"path\", {env} = \"NAME\"; an empty \
                 password is {plain} = \"\""
            ),
        );
    }
    optional(section, keys).unwrap_or_default()
}

fn from_file(section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
    let (path, span) = section.path(key, "monitor.password")?;
    match read_text(&path, MAX_PASSWORD_BYTES) {
        Ok(text) => {
            // One line end is the editor's, not the password's.
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            checked(section, &span, line)
        }
        Err(problem) => {
            let remedy = "make the file readable for Weir's user; relative paths start at the \
                          configuration file";
            section.source.problems.add(span, format!("the password {problem}"), remedy);
            None
        }
    }
}

fn from_env(section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
    let name = section.text(key, "WEIR_MONITOR_PASSWORD")?;
    let Some(value) = (section.source.env)(name.value) else {
        let what = format!("the environment has no variable {:?}", name.value);
        let remedy = "set it for the process that starts Weir, or name another";
        section.source.problems.add(name.span, what, remedy);
        return None;
    };
    checked(section, &name.span, &value)
}

/// No server accepts a NUL byte, and the login would cut the password there.
fn checked(section: &Section<'_>, place: &Range<usize>, password: &str) -> Option<Secret> {
    if password.contains('\0') {
        let remedy = "choose a password without it";
        let what = "the password contains a NUL byte";
        section.source.problems.add(place.clone(), what, remedy);
        return None;
    }
    Some(Secret::new(password.to_owned()))
}
