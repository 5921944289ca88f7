//! The smallest tar archive: one file, for the engine's "put files into a container". Pure.
//!
//! Format: POSIX ustar, <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html>.

/// Headers and contents are in blocks of this many bytes.
const BLOCK_BYTES: usize = 512;
/// The longest path a header holds without extensions.
const NAME_BYTES: usize = 100;

/// An archive with one regular file. `path` is relative and at most 100 bytes; `mode` as for chmod;
/// `owner` is user and group id. `None` when the path is longer or the size does not fit.
pub(super) fn one_file(path: &str, mode: u32, owner: u32, content: &[u8]) -> Option<Vec<u8>> {
    if path.is_empty() || path.len() > NAME_BYTES || content.len() >= 1 << 30 {
        return None;
    }
    let mut header = Vec::with_capacity(BLOCK_BYTES);
    put(&mut header, path.as_bytes(), NAME_BYTES);
    put(&mut header, format!("{mode:07o}").as_bytes(), 8);
    put(&mut header, format!("{owner:07o}").as_bytes(), 8);
    put(&mut header, format!("{owner:07o}").as_bytes(), 8);
    put(&mut header, format!("{:011o}", content.len()).as_bytes(), 12);
    put(&mut header, b"00000000000", 12); // modified: the epoch
    let sum_at = header.len();
    header.extend_from_slice(b"        "); // the sum counts itself as blanks
    put(&mut header, b"0", 1); // a regular file
    put(&mut header, b"", 100); // no link
    put(&mut header, b"ustar\x0000", 8);
    header.resize(BLOCK_BYTES, 0);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    for (slot, byte) in header.iter_mut().skip(sum_at).zip(text.bytes()) {
        *slot = byte;
    }
    let mut archive = header;
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
    archive.resize(archive.len().saturating_add(2 * BLOCK_BYTES), 0);
    Some(archive)
}

/// Appends `field`, filled with zeros to `width`.
fn put(header: &mut Vec<u8>, field: &[u8], width: usize) {
    let end = header.len().saturating_add(width);
    header.extend_from_slice(field);
    header.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_are_where_tar_wants_them() {
        let archive = one_file("run/secret", 0o400, 999, b"abc").unwrap();
        assert_eq!(archive.len(), 4 * 512);
        assert_eq!(&archive[..11], b"run/secret\0");
        assert_eq!(&archive[100..108], b"0000400\0");
        assert_eq!(&archive[108..116], b"0001747\0");
        assert_eq!(&archive[124..136], b"00000000003\0");
        assert_eq!(archive[156], b'0');
        assert_eq!(&archive[257..265], b"ustar\x0000");
        assert_eq!(&archive[512..516], b"abc\0");
        let mut blank = archive[..512].to_vec();
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|b| u32::from(*b)).sum();
        assert_eq!(&archive[148..156], format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn the_systems_tar_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        std::fs::write(&file, one_file("x/y", 0o600, 0, &[7; 700]).unwrap()).unwrap();
        let status = std::process::Command::new("tar")
            .args(["--no-same-owner", "-xf"])
            .arg(&file)
            .arg("-C")
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read(dir.path().join("x/y")).unwrap(), [7; 700]);
    }

    #[test]
    fn a_path_too_long_is_refused() {
        assert!(one_file(&"x".repeat(101), 0o400, 0, b"").is_none());
        assert!(one_file("", 0o400, 0, b"").is_none());
    }
}
