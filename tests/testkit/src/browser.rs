//! A real Chromium, driven over WebDriver.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use crate::process::{Process, accepts, free_port};
use crate::skip::skip_but_in_ci;

/// Looks for Chromium and its driver; reports a skipped test where they are missing.
pub fn is_installed() -> bool {
    let found = ["chromium", "chromedriver"].iter().all(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    });
    if !found {
        skip_but_in_ci("the packages chromium and chromium-driver are missing");
    }
    found
}

/// Keeps a screenshot where RISKSIGNAL_SHOTS says, for people to look at.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, no setting"
)]
pub async fn shot(browser: &Browser, name: &str) {
    let Some(folder) = std::env::var_os("RISKSIGNAL_SHOTS").map(PathBuf::from) else {
        return;
    };
    let height = browser
        .script("return document.documentElement.scrollHeight")
        .await;
    let width = browser.script("return innerWidth").await;
    let (width, height) = (width.as_u64().unwrap(), height.as_u64().unwrap());
    let resize = |w, h| browser.client.set_window_size(w, h);
    resize(width as u32, height as u32 + 20).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let picture = browser.client.screenshot().await.unwrap();
    std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
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
    /// A headless one, whose pages are light.
    pub async fn start(dir: &Path) -> Self {
        Self::start_in(dir, "light").await
    }

    /// A headless one that prefers pages of this color scheme: `light` or `dark`.
    pub async fn start_in(dir: &Path, scheme: &str) -> Self {
        let is_light = u8::from(scheme == "light");
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
            &format!("--blink-settings=preferredColorScheme={is_light}"),
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

    /// Runs a script, and returns its value.
    pub async fn script(&self, script: &str) -> serde_json::Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Ends the browser; to be called before this is dropped, since its driver is killed.
    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}
