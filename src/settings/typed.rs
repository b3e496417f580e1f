//! From texts to the typed settings: each value by itself, then each against the others.

use std::time::Duration;

use super::fields::FIELDS;
use super::layers::Layers;
use super::rules::{self, Contradiction};
use super::values::{self as to, Parsed};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// A hundred years as humantime counts them.
const YEARS: Duration = Duration::from_secs(100 * 31_557_600);
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
        shutdown: Shutdown {
            grace: reader.read("shutdown.grace", to::duration(SECOND..=HOUR)),
        },
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
            // A test reads every key of the table, and no other.
            return T::default();
        };
        match parse(&written.text) {
            Ok(value) => value,
            Err(rule) => {
                let shown = redacted_url(&written.text);
                let origin = written.origin.clone();
                self.layers
                    .faults
                    .add(key, &origin, format!("is {shown:?}, {rule}"));
                let default = FIELDS.iter().find(|field| field.key == key);
                default
                    .and_then(|field| parse(field.default).ok())
                    .unwrap_or_default()
            }
        }
    }

    fn nats(&mut self) -> Nats {
        Nats {
            url: self.read("nats.url", to::nats_urls),
            user: self.read("nats.user", to::text),
            password: self.read("nats.password", to::secret),
            token: self.read("nats.token", to::secret),
            connect_timeout: self.read("nats.connect_timeout", to::duration(ms(10)..=MINUTE)),
            request_timeout: self.read("nats.request_timeout", to::duration(ms(10)..=MINUTE)),
        }
    }

    fn stream(&mut self) -> Stream {
        let storages = [("file", Storage::File), ("memory", Storage::Memory)];
        Stream {
            name: self.read("stream.name", to::jetstream_name),
            subject_prefix: self.read("stream.subject_prefix", to::subject_prefix),
            storage: self.read("stream.storage", to::one_of(&storages)),
            // nats-server takes no more.
            replicas: self.read("stream.replicas", to::number(1..=5)),
            max_age: self.read("stream.max_age", to::duration_or_zero(SECOND..=YEARS)),
            max_bytes: self.read("stream.max_bytes", to::bytes(0..=u64::MAX >> 1)),
            duplicate_window: self
                .read("stream.duplicate_window", to::duration(ms(100)..=24 * HOUR)),
        }
    }

    fn dead_letters(&mut self) -> DeadLetters {
        DeadLetters {
            name: self.read("dead_letters.name", to::jetstream_name),
            subject_prefix: self.read("dead_letters.subject_prefix", to::subject_prefix),
            max_age: self.read("dead_letters.max_age", to::duration_or_zero(SECOND..=YEARS)),
            duplicate_window: self.read(
                "dead_letters.duplicate_window",
                to::duration(ms(100)..=24 * HOUR),
            ),
            max_pending: self.read("dead_letters.max_pending", to::number(1..=10_000)),
        }
    }

    fn consumer(&mut self) -> Consumer {
        Consumer {
            name: self.read("consumer.name", to::jetstream_name),
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
        let compressions = [("lz4", Compression::Lz4), ("none", Compression::None)];
        ClickHouse {
            url: self.read("clickhouse.url", to::http_url),
            user: self.read("clickhouse.user", to::text),
            password: self.read("clickhouse.password", to::secret),
            database: self.read("clickhouse.database", to::identifier),
            table: self.read("clickhouse.table", to::identifier),
            compression: self.read("clickhouse.compression", to::one_of(&compressions)),
            send_timeout: self.read("clickhouse.send_timeout", to::duration(ms(100)..=HOUR)),
            end_timeout: self.read("clickhouse.end_timeout", to::duration(ms(100)..=HOUR)),
            max_concurrent_inserts: self
                .read("clickhouse.max_concurrent_inserts", to::number(1..=32)),
            retry_min: self.read("clickhouse.retry_min", to::duration(ms(1)..=MINUTE)),
            retry_max: self.read("clickhouse.retry_max", to::duration(ms(1)..=HOUR)),
            migrate: self.read(
                "clickhouse.migrate",
                to::one_of(&[("true", true), ("false", false)]),
            ),
            retention: self.read("clickhouse.retention", to::duration_or_zero(HOUR..=YEARS)),
        }
    }

    fn batch(&mut self) -> Batch {
        Batch {
            // A block of more rows is split by ClickHouse, and would no longer be atomic.
            max_rows: self.read("batch.max_rows", to::number(1..=1_000_000)),
            max_bytes: self.read("batch.max_bytes", to::memory(64 * KIB..=256 * MIB)),
            max_wait: self.read("batch.max_wait", to::duration(ms(1)..=10 * MINUTE)),
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
        for Contradiction { keys, rule } in rules::contradictions(settings) {
            if keys
                .iter()
                .any(|key| self.layers.faults.0.iter().any(|fault| fault.key == *key))
            {
                continue;
            }
            let shown: Vec<_> = keys
                .iter()
                .filter_map(|key| {
                    let written = self.layers.get(key)?;
                    let secret = matches!(*key, "nats.password" | "nats.token");
                    let text = if secret { "***" } else { &written.text };
                    Some(format!("{key} is {text:?} ({})", written.origin))
                })
                .collect();
            let fault = Fault {
                key: keys[0].to_owned(),
                message: format!("{}: {rule}", shown.join(" but ")),
            };
            self.layers.faults.0.push(fault);
        }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
