//! A ClickHouse that stops between the writing of an insert's token and the appearance of its
//! part, for as long as a test wants.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repository::repository;
use crate::wait::eventually;

/// The library that stops the server, and the file that commands it.
pub struct HoldRenames {
    library: PathBuf,
    flag: PathBuf,
}

impl HoldRenames {
    /// Compiles the library in a folder.
    pub fn compiled_in(folder: &Path) -> Self {
        let source = repository("tests/testkit/src/hold_renames.c");
        let library = folder.join("hold_renames.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
        let compiled = compiler.arg(source).arg("-ldl").status().unwrap();
        assert!(compiled.success());
        Self {
            library,
            flag: folder.join("hold"),
        }
    }

    /// The environment of a ClickHouse with the library.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("HOLD_RENAMES".to_owned(), text(&self.flag)),
        ]
    }

    /// Holds every new part from now on.
    pub fn hold(&self) {
        std::fs::write(&self.flag, "").unwrap();
    }

    /// Makes the disk fail under every new part from now on.
    pub fn fail(&self) {
        std::fs::write(&self.flag, "fail").unwrap();
    }

    /// Lets them go.
    pub fn release(&self) {
        std::fs::remove_file(&self.flag).unwrap();
    }

    /// Reports whether a part was held, or failed, since the last call.
    pub fn take_reached(&self) -> bool {
        std::fs::remove_file(self.flag.with_extension("reached")).is_ok()
    }

    /// Waits until a part is held, or failed.
    pub async fn reached(&self) {
        let reached = self.flag.with_extension("reached");
        eventually("a part is held", async || reached.exists().then_some(())).await;
    }
}
