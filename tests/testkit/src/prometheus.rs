//! A real Prometheus.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use url::form_urlencoded;

use crate::ops::{Ops, prometheus_program};
use crate::process::{Process, accepts, free_port};
use crate::wait::eventually;

/// A running Prometheus, killed when dropped.
pub struct Prometheus {
    _process: Process,
    api: Ops,
}

impl Prometheus {
    /// With a configuration, and its data beside it.
    pub async fn start(config: &Path) -> Self {
        let dir = config.parent().unwrap();
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(prometheus_program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("prometheus").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::spawn(command, &dir.join("prometheus.log"));
        accepts(port).await;
        let api = Ops::at(&address);
        // It refuses questions, in plain words, until it has read its data.
        eventually("Prometheus is ready", async || {
            let answer = api.get("/-/ready").await;
            (answer.status == 200).then_some(())
        })
        .await;
        Self {
            _process: process,
            api,
        }
    }

    /// The `data` of an answer of the API; what is no success ends the test.
    pub async fn api(&self, path: &str) -> Value {
        let answer = self.api.get(&format!("/api/v1/{path}")).await;
        let json = answer.json();
        assert_eq!(json["status"], "success", "{path}: {json}");
        json["data"].clone()
    }

    /// The values of an expression now, one for each series.
    pub async fn query(&self, expression: &str) -> Vec<f64> {
        let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let data = self.api(&format!("query?query={query}")).await;
        let values = data["result"].as_array().unwrap().iter();
        values
            .map(|series| series["value"][1].as_str().unwrap().parse().unwrap())
            .collect()
    }
}
