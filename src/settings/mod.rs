//! Every setting of the program. Each component declares its section, and this module composes
//! them. Values come from defaults, a TOML file, a `.env` file, systemd's credentials and the
//! environment, in that order, and are checked as a whole before any server is contacted.

mod load;
mod reload;
mod rules;

use jetstream::{ConsumerOptions, DeadLettersOptions, NatsOptions, Plan, StreamOptions};
use option_kit::{Faults, Layers, Options, Origin, SettingsReader, Shape, Table, Values};
use signal::Limits;
use store::{ClickHouseOptions, TOKENS_MIN};
use telemetry::{LogOptions, OtelOptions};
use wallets::CacheOptions;

use crate::ops::options::OpsOptions;
use crate::pipeline::options::{BatchOptions, ShutdownOptions};
use crate::serve::options::ServeOptions;

pub use reload::{Reloaded, SettingChange};

/// Declares the sections once: the struct, the table, the reading and the rules follow.
macro_rules! sections {
    ($($(#[doc = $about:literal])+ $field:ident: $section:ty,)+) => {
        /// All settings of the daemon, checked.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($(#[doc = $about])+ pub $field: $section,)+
            written: Values,
        }

        /// Every declared setting, in the order of the examples.
        pub const TABLE: Table = Table(&[$(<$section>::FIELDS),+]);

        impl Settings {
            /// Reads and checks the settings of these layers.
            fn from_layers(layers: Layers) -> Result<Self, Faults> {
                let mut reader = SettingsReader::new(layers);
                let settings = Self {
                    $($field: <$section>::read(&mut reader),)+
                    written: reader.values().clone(),
                };
                $(reader.check(&settings.$field, <$section>::RULES);)+
                reader.check(&settings, rules::RULES);
                reader.finish()?;
                Ok(settings)
            }

            /// Returns the form of each setting's value, in the order of [`TABLE`].
            pub fn shapes() -> Vec<Shape> {
                [$(<$section>::shapes()),+].concat()
            }
        }
    };
}

sections! {
    /// Connection to NATS.
    nats: NatsOptions,
    /// JetStream stream that applications publish to.
    stream: StreamOptions,
    /// Stream of dead letters.
    dead_letters: DeadLettersOptions,
    /// Durable pull consumer, and its share in one instance.
    consumer: ConsumerOptions,
    /// Connection to ClickHouse, and inserts.
    clickhouse: ClickHouseOptions,
    /// Bounds of a batch.
    batch: BatchOptions,
    /// Limits of a signal.
    validation: Limits,
    /// Log lines.
    log: LogOptions,
    /// Metrics, health and the live page.
    ops: OpsOptions,
    /// HTTP API for publishing and reading.
    serve: ServeOptions,
    /// Cache of wallets in Redis.
    cache: CacheOptions,
    /// Export of traces.
    otel: OtelOptions,
    /// Shutdown of the daemon.
    shutdown: ShutdownOptions,
}

impl Settings {
    /// Iterates over every setting by key, with the written value and its origin; secrets are
    /// `***`.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        TABLE.iter().filter_map(|field| {
            let written = self.written.get(field.key)?;
            Some((field.key, written.shown(field), &written.origin))
        })
    }

    /// Returns a line for each retired setting that is written somewhere.
    pub fn retired(&self) -> Vec<String> {
        option_kit::retired(TABLE, &self.written)
    }

    /// Returns the settings of everything on JetStream.
    pub fn plan(&self) -> Plan<'_> {
        Plan {
            stream: &self.stream,
            dead_letters: &self.dead_letters,
            consumer: &self.consumer,
        }
    }

    /// Returns the name of the claims log's stream.
    pub fn claims_log(&self) -> String {
        let (stream, clickhouse) = (&self.stream.name, &self.clickhouse);
        claims_log::stream_name(stream, &clickhouse.database, &clickhouse.table)
    }

    /// Returns the number of deduplication tokens that the table must keep: twice those whose fence
    /// or late commit may not be over, since claiming stops while half of the window is taken.
    pub fn tokens_needed(&self) -> u64 {
        let alive = self.clickhouse.fence + self.clickhouse.late_commit;
        let inserts = u64::from(self.batch.max_inserts_per_second);
        let tokens = inserts
            .saturating_mul(alive.as_secs() + 1)
            .saturating_mul(2);
        tokens.max(TOKENS_MIN)
    }
}
