//! The connection to Redis.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use net::http::client::with_causes;
use net::tls::ClientTls;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, IntoConnectionInfo, RedisError, TlsCertificates,
};

use super::error::{CacheError, advice};
use super::options::CacheOptions;
use super::scripts::Scripts;

/// Least timeout of connecting, which has several steps.
const CONNECT_MIN: Duration = Duration::from_secs(2);

/// A Redis server, and where the cache is in it.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    /// Without a password, by the settings' check.
    url: String,
    tls: Option<ClientTls>,
    timeout: Duration,
    pub(super) prefix: String,
    pub(super) ttl: Duration,
    pub(super) scripts: Arc<Scripts>,
}

impl Redis {
    /// The server that the settings name; `None` where they name none. It touches no server.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn new(cache: &CacheOptions) -> Result<Option<Self>, CacheError> {
        let Some(url) = &cache.url else {
            return Ok(None);
        };
        let fault = |setting, error: &dyn std::fmt::Display| CacheError::Setting {
            setting,
            what: error.to_string(),
        };
        let info = url
            .as_str()
            .into_connection_info()
            .map_err(|error| fault("cache.url", &error))?;
        // A narrow user is refused that, which goes to Redis' log of refusals.
        let mut login = info.redis_settings().clone().set_skip_set_lib_name();
        if !cache.user.is_empty() {
            login = login.set_username(&cache.user);
        }
        if !cache.password.is_empty() {
            login = login.set_password(cache.password.expose());
        }
        let info = info.set_redis_settings(login);
        let read = |setting, path: &Path| fs::read(path).map_err(|error| fault(setting, &error));
        let client = if cache.is_tls() {
            let files = cache.tls_files();
            let root_cert = files.ca.as_deref();
            let root_cert = root_cert.map(|path| read("cache.ca_file", path));
            let client_tls = match (&files.certificate, &files.key) {
                (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                    client_cert: read("cache.cert_file", certificate)?,
                    client_key: read("cache.key_file", key)?,
                }),
                _ => None,
            };
            let certificates = TlsCertificates {
                client_tls,
                root_cert: root_cert.transpose()?,
            };
            Client::build_with_tls(info, certificates)
        } else {
            Client::open(info)
        };
        Ok(Some(Self {
            client: client.map_err(|error| fault("cache.url", &error))?,
            url: url.clone(),
            tls: cache
                .is_tls()
                .then(|| ClientTls::new("cache", &cache.tls_files())),
            timeout: cache.timeout,
            prefix: cache.prefix.clone(),
            ttl: cache.ttl,
            scripts: Arc::new(Scripts::new()),
        }))
    }

    /// A connection of its own, over which every answer comes in time or not at all.
    ///
    /// # Errors
    /// When the server is away, or refuses the user.
    pub async fn connect(&self) -> Result<MultiplexedConnection, CacheError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout.max(CONNECT_MIN)))
            .set_response_timeout(Some(self.timeout));
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.failed("connect to", error))
    }

    /// The server's version.
    ///
    /// # Errors
    /// When it gives no answer, or refuses to run a script.
    pub async fn version(&self) -> Result<String, CacheError> {
        let mut connection = self.connect().await?;
        let script = redis::Script::new("return redis.REDIS_VERSION");
        let version: Option<String> = script
            .invoke_async(&mut connection)
            .await
            .map_err(|error| self.failed("run a script in", error))?;
        // Before Redis 7, scripts do not know it.
        Ok(version.unwrap_or_else(|| "older than 7.0".to_owned()))
    }

    /// The server's URL, which holds no password.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn failed(&self, doing: &'static str, error: RedisError) -> CacheError {
        let advice = match &self.tls {
            Some(tls) if advice(&error).is_empty() => tls_advice(tls, &error),
            _ => advice(&error).to_owned(),
        };
        CacheError::Redis {
            doing,
            url: self.url.clone(),
            error,
            advice,
        }
    }

    /// Longest time of an answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

fn tls_advice(tls: &ClientTls, error: &RedisError) -> String {
    let advice = tls.advice(error);
    if !advice.is_empty() {
        return advice;
    }
    let words = with_causes(error);
    let advice = tls.advice_on_words(&words);
    if !advice.is_empty() {
        return advice;
    }
    let is_over = error.is_connection_dropped() || error.is_io_error();
    match tls.after_handshake() {
        Some(advice) if is_over => advice,
        _ if is_over => format!("; {}", tls.advice_on_close()),
        _ => String::new(),
    }
}
