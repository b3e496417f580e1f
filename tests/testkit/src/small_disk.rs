//! A disk of a few megabytes for one server, gone with its test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip::skip;

/// A tmpfs, unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one on an empty folder; `None` where this user may not mount.
    pub fn mount(path: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self {
                path: path.to_owned(),
            });
        }
        skip("this user may not mount a tmpfs");
        None
    }

    /// Fills all but so many bytes with a file.
    pub fn fill_but(&self, left: u64) {
        let free = self.free();
        let size = free.saturating_sub(left).to_string();
        let made = Command::new("fallocate")
            .args(["-l", &size])
            .arg(self.filler())
            .status();
        assert!(made.unwrap().success());
    }

    /// Removes what [`Self::fill_but`] has made.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    fn free(&self) -> u64 {
        let printed = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(&self.path)
            .output();
        let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
        printed.lines().last().unwrap().trim().parse().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that was killed a moment ago may still be there: `-l` waits for it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
