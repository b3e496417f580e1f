//! From texts to the typed settings: each value by itself, then each against the others.

use std::time::Duration;

use super::cache as redis;
use super::fields;
use super::keep;
use super::layers::Layers;
use super::monitoring;
use super::otel;
use super::rules;
use super::tokens;
use super::values::{self as to, Parsed};
use super::*;
use crate::contract::{Modes, Schemas};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// A year as humantime counts it.
const YEAR: Duration = Duration::from_secs(31_557_600);
const YEARS: Duration = YEAR.saturating_mul(100);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reads values and gathers faults.
struct Reader {
    layers: Layers,
}

/// The settings, or every fault there is.
pub(super) fn settings(layers: Layers) -> Result<Settings, Faults> {
    let mut reader = Reader { layers };
    let settings = Settings {
        nats: reader.nats(),
        stream: reader.stream(),
        dead_letters: reader.dead_letters(),
        consumer: reader.consumer(),
        clickhouse: reader.clickhouse(),
        batch: reader.batch(),
        validation: reader.validation(),
        log: reader.log(),
        ops: reader.ops(),
        serve: reader.serve(),
        cache: reader.cache(),
        otel: reader.otel(),
        shutdown: Shutdown {
            grace: reader.read("shutdown.grace", to::duration(SECOND..=HOUR)),
        },
        written: reader.layers.values.clone(),
    };
    reader.check_each_against_others(&settings);
    if reader.layers.faults.0.is_empty() {
        Ok(settings)
    } else {
        Err(reader.layers.faults)
    }
}

impl Reader {
    /// The value of a setting. One that does not parse is a fault, and the default stands in
    /// for it.
    fn read<T: Default>(&mut self, key: &'static str, parse: impl Fn(&str) -> Parsed<T>) -> T {
        let Some(written) = self.layers.get(key) else {
            // A test holds that this happens to no key.
            let message = format!("{key} is not in the table of settings");
            let key = key.to_owned();
            self.layers.faults.0.push(Fault { key, message });
            return T::default();
        };
        match parse(&written.text) {
            Ok(value) => value,
            Err(rule) => {
                let what = format!("is {:?}, {rule}", written.shown(key));
                let origin = written.origin.clone();
                self.layers.faults.add(key, &origin, what);
                let default = fields::find(key);
                default
                    .and_then(|field| parse(field.default).ok())
                    .unwrap_or_default()
            }
        }
    }

    /// As [`Self::read`], of a text. A TOML file must give it as a string: `0x10` without
    /// quotes would become 16.
    fn read_text<T: Default>(&mut self, key: &'static str, parse: impl Fn(&str) -> Parsed<T>) -> T {
        match self.layers.get(key) {
            Some(written) if written.bare => {
                let origin = written.origin.clone();
                self.layers
                    .faults
                    .add(key, &origin, "must be a string, in quotes");
                T::default()
            }
            _ => self.read(key, parse),
        }
    }

    fn nats(&mut self) -> Nats {
        let tls = [("auto", Tls::Auto), ("on", Tls::On), ("first", Tls::First)];
        Nats {
            url: self.read("nats.url", to::nats_urls),
            user: self.read_text("nats.user", to::text),
            password: self.read_text("nats.password", to::secret),
            token: self.read_text("nats.token", to::secret),
            nkey: self.read_text("nats.nkey", to::nkey_seed),
            creds: self.read_text("nats.creds", to::nats_creds),
            tls: self.read("nats.tls", to::one_of(&tls)),
            tls_files: TlsFiles {
                ca: self.read_text("nats.ca_file", to::certificate_file),
                certificate: self.read_text("nats.cert_file", to::certificate_file),
                key: self.read_text("nats.key_file", to::key_file),
            },
            inbox_prefix: self.read_text("nats.inbox_prefix", to::subject_prefix),
            connect_timeout: self.read("nats.connect_timeout", to::duration(ms(10)..=MINUTE)),
            request_timeout: self.read("nats.request_timeout", to::duration(ms(10)..=MINUTE)),
            monitoring_url: self.read_text("nats.monitoring_url", monitoring::monitoring_url),
        }
    }

    fn stream(&mut self) -> Stream {
        let storages = [("file", Storage::File), ("memory", Storage::Memory)];
        Stream {
            name: self.read_text("stream.name", to::jetstream_name),
            subject_prefix: self.read_text("stream.subject_prefix", to::subject_prefix),
            storage: self.read("stream.storage", to::one_of(&storages)),
            // nats-server takes no more.
            replicas: self.read("stream.replicas", to::number(1..=5)),
            max_age: self.read("stream.max_age", to::duration_or_zero(SECOND..=YEARS)),
            max_bytes: self.read("stream.max_bytes", to::bytes(0..=u64::MAX >> 1)),
            duplicate_window: self
                .read("stream.duplicate_window", to::duration(ms(100)..=24 * HOUR)),
            keep: self.read_text("stream.keep", keep::keep),
        }
    }

    fn dead_letters(&mut self) -> DeadLetters {
        DeadLetters {
            name: self.read_text("dead_letters.name", to::jetstream_name),
            subject_prefix: self.read_text("dead_letters.subject_prefix", to::subject_prefix),
            max_age: self.read("dead_letters.max_age", to::duration_or_zero(SECOND..=YEARS)),
            duplicate_window: self.read(
                "dead_letters.duplicate_window",
                to::duration(MINUTE..=7 * 24 * HOUR),
            ),
            max_pending: self.read("dead_letters.max_pending", to::number(1..=10_000)),
        }
    }

    fn consumer(&mut self) -> Consumer {
        let ack_policies = [("explicit", AckPolicy::Explicit), ("all", AckPolicy::All)];
        Consumer {
            name: self.read_text("consumer.name", to::jetstream_name),
            ack_policy: self.read("consumer.ack_policy", to::one_of(&ack_policies)),
            ack_wait: self.read("consumer.ack_wait", to::duration(SECOND..=HOUR)),
            max_deliver: self.read("consumer.max_deliver", to::number(0..=1_000_000)),
            max_ack_pending: self.read("consumer.max_ack_pending", to::number(1..=100_000_000)),
            max_in_flight_messages: self.read(
                "consumer.max_in_flight_messages",
                to::number(1..=10_000_000),
            ),
            max_in_flight_bytes: self.read(
                "consumer.max_in_flight_bytes",
                to::memory(64 * KIB..=64 * GIB),
            ),
            // A pull's messages wait in the subscription's channel, which has twice as many
            // slots; a full one would drop them.
            fetch_messages: self.read("consumer.fetch_messages", to::number(1..=65_536)),
            fetch_bytes: self.read("consumer.fetch_bytes", to::memory(64 * KIB..=GIB)),
            fetch_expires: self.read("consumer.fetch_expires", to::duration(SECOND..=5 * MINUTE)),
            pulls: self.read("consumer.pulls", to::number(1..=16)),
        }
    }

    fn clickhouse(&mut self) -> ClickHouse {
        let compressions = [
            ("auto", Compression::Auto),
            ("lz4", Compression::Lz4),
            ("none", Compression::None),
        ];
        ClickHouse {
            url: self.read("clickhouse.url", to::http_url),
            user: self.read_text("clickhouse.user", to::text),
            password: self.read_text("clickhouse.password", to::secret),
            tls_files: TlsFiles {
                ca: self.read_text("clickhouse.ca_file", to::certificate_file),
                certificate: self.read_text("clickhouse.cert_file", to::certificate_file),
                key: self.read_text("clickhouse.key_file", to::key_file),
            },
            database: self.read("clickhouse.database", to::identifier),
            table: self.read("clickhouse.table", to::identifier),
            compression: self.read("clickhouse.compression", to::one_of(&compressions)),
            send_timeout: self.read("clickhouse.send_timeout", to::duration(ms(100)..=HOUR)),
            end_timeout: self.read("clickhouse.end_timeout", to::duration(ms(100)..=HOUR)),
            max_concurrent_inserts: self
                .read("clickhouse.max_concurrent_inserts", to::number(1..=32)),
            fence: self.read("clickhouse.fence", to::duration(ms(1000)..=HOUR)),
            late_commit: self.read("clickhouse.late_commit", to::duration(ms(1000)..=HOUR)),
            retry_min: self.read("clickhouse.retry_min", to::duration(ms(1)..=MINUTE)),
            retry_max: self.read("clickhouse.retry_max", to::duration(ms(1)..=HOUR)),
            migrate: self.read("clickhouse.migrate", to::yes_or_no),
            // ClickHouse adds it to an arrival, and its DateTime ends in 2106.
            retention: self.read(
                "clickhouse.retention",
                to::duration_or_zero(HOUR..=50 * YEAR),
            ),
        }
    }

    fn batch(&mut self) -> Batch {
        Batch {
            // A block of more rows is split by ClickHouse, and would no longer be atomic.
            max_rows: self.read("batch.max_rows", to::number(1..=1_000_000)),
            max_bytes: self.read("batch.max_bytes", to::memory(64 * KIB..=256 * MIB)),
            max_wait: self.read("batch.max_wait", to::duration(ms(1)..=10 * MINUTE)),
            max_inserts_per_second: self.read("batch.max_inserts_per_second", to::number(1..=1000)),
        }
    }

    fn validation(&mut self) -> Validation {
        let chars = || to::number(1..=65_536);
        Validation {
            max_signal_bytes: self.read("validation.max_signal_bytes", to::memory(KIB..=64 * MIB)),
            source_id_max_chars: self.read("validation.source_id_max_chars", chars()),
            event_type_max_chars: self.read("validation.event_type_max_chars", chars()),
            user_id_max_chars: self.read("validation.user_id_max_chars", chars()),
            wallet_address_max_chars: self.read("validation.wallet_address_max_chars", chars()),
            severity_max: self.read("validation.severity_max", to::number(0..=255)),
            contracts: Contracts::new(
                self.read_text("validation.schemas", Schemas::read),
                self.read_text("validation.payload", Modes::parse),
            ),
        }
    }

    fn ops(&mut self) -> Ops {
        Ops {
            listen: self.read("ops.listen", to::listen_address),
            token: self.read_text("ops.token", to::secret),
            tls_files: TlsFiles {
                ca: None,
                certificate: self.read_text("ops.cert_file", to::certificate_file),
                key: self.read_text("ops.key_file", to::key_file),
            },
        }
    }

    fn serve(&mut self) -> Serve {
        Serve {
            listen: self.read("serve.listen", to::socket_address),
            with_run: self.read("serve.with_run", to::yes_or_no),
            tokens: self.read_text("serve.tokens_file", tokens::read),
            tls_files: TlsFiles {
                ca: None,
                certificate: self.read_text("serve.cert_file", to::certificate_file),
                key: self.read_text("serve.key_file", to::key_file),
            },
            cors_origins: self.read_text("serve.cors_origins", to::origins),
            max_connections: self.read("serve.max_connections", to::number(1..=65_536)),
            max_connections_per_client: self
                .read("serve.max_connections_per_client", to::number(1..=65_536)),
            max_body_bytes: self.read("serve.max_body_bytes", to::memory(KIB..=256 * MIB)),
            max_held_bytes: self.read("serve.max_held_bytes", to::memory(KIB..=2 * GIB)),
            max_signals: self.read("serve.max_signals", to::number(1..=100_000)),
            // An inbox's channel has room for more.
            max_unanswered: self.read("serve.max_unanswered", to::number(1..=100_000)),
            max_queries: self.read("serve.max_queries", to::number(1..=1000)),
            query_timeout: self.read("serve.query_timeout", to::duration(ms(100)..=HOUR)),
            body_timeout: self.read("serve.body_timeout", to::duration(ms(100)..=HOUR)),
            answer_timeout: self.read("serve.answer_timeout", to::duration(ms(100)..=HOUR)),
        }
    }

    fn cache(&mut self) -> Cache {
        Cache {
            url: self.read_text("cache.url", redis::redis_url),
            user: self.read_text("cache.user", to::text),
            password: self.read_text("cache.password", to::secret),
            tls_files: TlsFiles {
                ca: self.read_text("cache.ca_file", to::certificate_file),
                certificate: self.read_text("cache.cert_file", to::certificate_file),
                key: self.read_text("cache.key_file", to::key_file),
            },
            prefix: self.read_text("cache.prefix", to::text),
            // The longest window is a day.
            ttl: self.read("cache.ttl", to::duration(MINUTE..=YEAR)),
            timeout: self.read("cache.timeout", to::duration(ms(10)..=MINUTE)),
            max_queue_bytes: self.read("cache.max_queue_bytes", to::memory(64 * KIB..=GIB)),
            max_wallets: self.read("cache.max_wallets", to::number(0..=10_000_000)),
        }
    }

    fn otel(&mut self) -> Otel {
        Otel {
            endpoint: self.read_text("otel.endpoint", otel::endpoint),
            headers: self.read_text("otel.headers", otel::headers),
            tls_files: TlsFiles {
                ca: self.read_text("otel.ca_file", to::certificate_file),
                certificate: self.read_text("otel.cert_file", to::certificate_file),
                key: self.read_text("otel.key_file", to::key_file),
            },
            timeout: self.read("otel.timeout", to::duration(ms(100)..=MINUTE)),
            service_name: self.read_text("otel.service_name", to::text),
            resource_attributes: self.read_text("otel.resource_attributes", otel::attributes),
            sample_ratio: self.read("otel.sample_ratio", otel::ratio),
            max_links: self.read("otel.max_links", to::number(0..=10_000)),
            max_queued_spans: self.read("otel.max_queued_spans", to::number(1..=100_000)),
        }
    }

    fn log(&mut self) -> Log {
        let formats = [
            ("auto", LogFormat::Auto),
            ("pretty", LogFormat::Pretty),
            ("json", LogFormat::Json),
        ];
        Log {
            filter: self.read("log.filter", to::log_filter),
            format: self.read("log.format", to::one_of(&formats)),
            lines_per_second: self.read("log.lines_per_second", to::number(0..=1_000_000)),
            summary_interval: self.read("log.summary_interval", to::duration(ms(100)..=HOUR)),
        }
    }
}

impl Reader {
    /// Reports what contradicts, but nothing that a fault already told of.
    fn check_each_against_others(&mut self, settings: &Settings) {
        // A file that could not be understood may hold what agrees.
        if self.layers.incomplete {
            return;
        }
        for rule in rules::broken(settings) {
            if rule
                .keys
                .iter()
                .any(|key| self.layers.faults.0.iter().any(|fault| fault.key == *key))
            {
                continue;
            }
            let shown: Vec<_> = rule
                .keys
                .iter()
                .take(2)
                .filter_map(|key| {
                    let written = self.layers.get(key)?;
                    let text = written.shown(key);
                    Some(format!("{key} is {text:?} ({})", written.origin))
                })
                .collect();
            let fault = Fault {
                key: rule.keys[0].to_owned(),
                message: format!("{}: {}", shown.join(" but "), rule.words),
            };
            self.layers.faults.0.push(fault);
        }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
