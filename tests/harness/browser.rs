//! A real Chromium, driven over WebDriver.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use super::process::{Process, accepts, free_port};

/// Whether there is a Chromium. A test without one is skipped, but never in CI.
pub fn is_installed() -> bool {
    let found = ["chromium", "chromedriver"].iter().all(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    });
    assert!(
        found || std::env::var_os("CI").is_none(),
        "the packages chromium and chromium-driver are missing"
    );
    found
}

/// A browser, gone with its driver.
pub struct Browser {
    pub client: Client,
    driver: Process,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.pid());
        let _ = Command::new("kill")
            .args(["-s", "KILL", "--", &group])
            .status();
    }
}

impl Browser {
    /// A headless one, whose window has this size and whose pages like this colour scheme.
    pub async fn start(dir: &Path) -> Self {
        let port = free_port();
        let mut driver = Command::new("chromedriver");
        // The browser is in its group, which a test that fails ends with it.
        driver.arg(format!("--port={port}")).process_group(0);
        let driver = Process::spawn(driver, &dir.join("chromedriver.log"));
        accepts(port).await;
        let profile = dir.join("chromium");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let options = json!({ "args": arguments });
        let log = json!({ "browser": "ALL" });
        let capabilities = [
            ("goog:chromeOptions".to_owned(), options),
            ("goog:loggingPrefs".to_owned(), log),
        ];
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, driver }
    }

    /// What a script returns.
    pub async fn script(&self, script: &str) -> serde_json::Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Ends the browser; to be called before this is dropped, since its driver is killed.
    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}
