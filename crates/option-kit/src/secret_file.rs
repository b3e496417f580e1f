//! A secret in a file of its own, as Docker, Kubernetes and systemd provide it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest secret; a larger file is no secret.
const BYTES_MAX: u64 = 64 * 1024;

/// Returns the secret, without the line break at its end, or the fault of the file. No fault quotes
/// the content.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let text = text(path, BYTES_MAX)?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err("holds no secret: it is empty".to_owned());
    }
    Ok(secret.to_owned())
}

/// Reads the text of a file of at most `bytes_max` bytes.
///
/// # Errors
/// Returns the fault of the file, without its content.
pub fn text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    // Bounded, since the path may name an endless device or pipe.
    let file = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    if let Err(error) = file {
        return Err(format!("cannot be read: {error}"));
    }
    if text.len() as u64 > bytes_max {
        return Err(format!("holds more than {bytes_max} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (content, secret) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" hunter2 \n\n", " hunter2 \n"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).as_deref(), Ok(secret), "{content:?}");
        }
    }

    #[test]
    fn a_file_without_a_secret_is_rejected_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (content, words) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"hunter2\xff", "cannot be read"),
            (&b"hunter2".repeat(10_000), "holds more than 65536 bytes"),
        ] {
            std::fs::write(&path, content).unwrap();
            let fault = read(&path).unwrap_err();
            assert!(
                fault.contains(words) && !fault.contains("hunter"),
                "{fault}"
            );
        }
        assert!(read(dir.path()).unwrap_err().contains("cannot be read"));
        let endless = read(Path::new("/dev/zero")).unwrap_err();
        assert!(endless.contains("holds more than"), "{endless}");
    }
}
