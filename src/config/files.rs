//! Files that the configuration names: read whole, bounded, and looked at before anyone needs them.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::section::Section;

/// The longest PEM file, in bytes; a bundle of every public authority has a quarter of it.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// What a PEM file must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pem {
    Certificate,
    PrivateKey,
}

/// Reads a UTF-8 file of at most `max_bytes`; the error is a clause that begins with "file".
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(format!("file {shown} cannot be read: {error}"));
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > max_bytes) {
        return Err(format!("file {shown} is longer than {max_bytes} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("file {shown} is not UTF-8 (at byte {})", error.utf8_error().valid_up_to())
    })
}

/// The path of a PEM file that is there and holds what it should; `None` when absent or wrong.
///
/// The whole truth about the file is told by the TLS library at start; this finds what operators
/// mix up: a path that is wrong, certificate and key swapped, a key that needs a passphrase.
pub(super) fn pem(section: &mut Section<'_>, key: &'static str, holds: Pem) -> Option<PathBuf> {
    let (path, span) = section.path(key, "server.pem")?;
    let problem = match read_text(&path, MAX_PEM_BYTES) {
        Ok(text) => pem_problem(&text, holds).map(|lack| format!("file {} {lack}", path.display())),
        Err(problem) => Some(problem),
    };
    let Some(problem) = problem else { return Some(path) };
    let remedy = match holds {
        Pem::Certificate => {
            "name a PEM file that begins with -----BEGIN CERTIFICATE-----; relative paths start \
             at the configuration file"
        }
        Pem::PrivateKey => {
            "name a PEM file with an unencrypted -----BEGIN PRIVATE KEY-----; relative paths \
             start at the configuration file"
        }
    };
    section.source.problems.add(span, format!("`{key}`: {problem}"), remedy);
    None
}

fn pem_problem(text: &str, holds: Pem) -> Option<&'static str> {
    let certificate = text.contains("-----BEGIN CERTIFICATE-----");
    let private_key = text.contains("PRIVATE KEY-----");
    let encrypted = text.contains("ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,E");
    match holds {
        Pem::Certificate if certificate => None,
        Pem::Certificate if private_key => Some("holds a private key, no certificate"),
        Pem::Certificate => Some("holds no PEM certificate"),
        Pem::PrivateKey if encrypted => Some("holds a private key that needs a passphrase"),
        Pem::PrivateKey if private_key => None,
        Pem::PrivateKey if certificate => Some("holds a certificate, no private key"),
        Pem::PrivateKey => Some("holds no PEM private key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pem_file_holds() {
        let certificate = "-----BEGIN CERTIFICATE-----\n";
        for (text, as_certificate, as_key) in [
            (certificate, true, false),
            ("-----BEGIN PRIVATE KEY-----\n", false, true),
            ("-----BEGIN RSA PRIVATE KEY-----\n", false, true),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", false, false),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", false, false),
            ("", false, false),
        ] {
            assert_eq!(pem_problem(text, Pem::Certificate).is_none(), as_certificate, "{text}");
            assert_eq!(pem_problem(text, Pem::PrivateKey).is_none(), as_key, "{text}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert!(read_text(&path, 4).unwrap_err().contains("longer than 4 bytes"));
        std::fs::write(&path, b"a\xff").unwrap();
        assert!(read_text(&path, 5).unwrap_err().contains("not UTF-8 (at byte 1)"));
        assert!(read_text(dir.path(), 5).unwrap_err().contains("cannot be read"));
    }
}
