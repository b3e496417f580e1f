//! Every setting by name: its default and what it is for. The examples that ship are written
//! from this table, and `typed` reads each entry of it.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// `section.key`, as in the TOML file.
    pub key: &'static str,
    /// The default, as one would write it; empty means unset.
    pub default: &'static str,
    /// One line for the operator.
    pub about: &'static str,
    /// The conventional environment variable, where there is one.
    pub alias: Option<&'static str>,
    /// Whether it is never printed, and may be given as the name of a file that holds it.
    pub secret: bool,
    /// Whether a running daemon takes a change of it on SIGHUP.
    pub live: bool,
}

impl Field {
    /// The setting's environment variable.
    pub fn variable(&self) -> String {
        let name = self.key.to_ascii_uppercase().replace('.', "__");
        format!("{PREFIX}{name}")
    }

    /// The setting that names a file with this secret.
    pub fn file_key(&self) -> String {
        format!("{}_file", self.key)
    }

    /// The name of the systemd credential that holds this secret.
    pub fn credential(&self) -> String {
        self.key.replace('.', "_")
    }

    /// The lines for the operator above the setting in the examples.
    #[cfg(test)]
    fn comment(&self) -> String {
        let live = if self.live {
            " (SIGHUP changes it)"
        } else {
            ""
        };
        format!("# {}{live}\n", self.about)
    }

    /// The part of the key before the dot.
    pub fn section(&self) -> &'static str {
        self.key
            .split_once('.')
            .map_or(self.key, |(section, _)| section)
    }
}

/// The setting of this name, where there is one.
pub(super) fn find(key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.key == key)
}

/// Ends the name of a variable that names a file with a secret.
pub(super) const FILE_SUFFIX: &str = "_FILE";

/// Begins the name of every environment variable that is a setting.
pub(super) const PREFIX: &str = "RISKSIGNAL__";

/// The setting, and its variable, that a variable such as `RISKSIGNAL_NATS_URL` means: its name
/// differs by underscores alone.
pub(super) fn misspelled(variable: &str) -> Option<(&'static Field, String)> {
    let squeezed = |name: &str| name.replace('_', "");
    if !variable.starts_with("RISKSIGNAL") {
        return None;
    }
    let meant = squeezed(variable);
    FIELDS.iter().find_map(|field| {
        let own = field.variable();
        let file = field.secret.then(|| format!("{own}{FILE_SUFFIX}"));
        let names = std::iter::once(own).chain(file);
        let mut same = names.filter(|name| squeezed(name) == meant);
        Some((field, same.next()?))
    })
}

const fn field(key: &'static str, default: &'static str, about: &'static str) -> Field {
    Field {
        key,
        default,
        about,
        alias: None,
        secret: false,
        live: false,
    }
}

const fn secret(field: Field) -> Field {
    Field {
        secret: true,
        ..field
    }
}

const fn live(field: Field) -> Field {
    Field {
        live: true,
        ..field
    }
}

const fn known_as(alias: &'static str, field: Field) -> Field {
    Field {
        alias: Some(alias),
        ..field
    }
}

/// Every setting, section by section.
#[rustfmt::skip]
pub(super) const FIELDS: &[Field] = &[
    known_as("NATS_URL", field("nats.url", "nats://127.0.0.1:4222", "Servers to connect to, separated by commas")),
    field("nats.user", "", "User; unset for none"),
    secret(field("nats.password", "", "The user's password")),
    secret(field("nats.token", "", "Token, instead of user and password")),
    secret(field("nats.nkey", "", "Seed of an NKey (SU...), instead of user and password")),
    secret(field("nats.creds", "", "Text of a .creds file, instead of user and password; better its name in nats.creds_file")),
    field("nats.tls", "auto", "auto (with tls:// URLs or a CA or certificate here, or where the server asks), on (always) or first (before the server says anything)"),
    field("nats.ca_file", "", "PEM file of the CAs that are trusted, in place of the system's"),
    field("nats.cert_file", "", "PEM file of the client's certificate, where the server asks for one"),
    field("nats.key_file", "", "PEM file of that certificate's private key"),
    field("nats.inbox_prefix", "_INBOX", "Begins the subjects that answers and pulled messages come on; one that only this login may listen to keeps them from others"),
    field("nats.connect_timeout", "5s", "How long one attempt to connect may take"),
    field("nats.request_timeout", "5s", "How long an answer of JetStream may take"),
    field("nats.monitoring_url", "", "HTTP monitoring of nats-server, such as http://127.0.0.1:8222; its /healthz shows a full disk, which NATS itself reports to no client; unset for none"),

    field("stream.name", "SIGNALS", "The stream that applications publish to; created when absent"),
    field("stream.subject_prefix", "signals", "Its subjects are <prefix>.>"),
    field("stream.storage", "file", "Where a stream that is created keeps its messages: file or memory"),
    field("stream.replicas", "1", "Copies of a stream that is created, in a NATS cluster"),
    field("stream.max_age", "0s", "Age at which messages are removed from a stream that is created; 0s keeps them for ever"),
    field("stream.max_bytes", "0B", "Size at which a stream that is created refuses more; 0B is no bound"),
    field("stream.duplicate_window", "2m", "How long a stream that is created remembers a Nats-Msg-Id"),
    field("stream.keep", "", "Committed history that stays for replays: an age and a size of the stream, such as 7days, 8GiB; the daemon purges what exceeds either, but nothing that is not committed or that another durable consumer has not acked. Unset: 7days, 8GiB in a stream that this release or a later one created, everything in any other; all: everything"),

    field("dead_letters.name", "SIGNALS_DLQ", "The stream that takes what cannot land; created when absent"),
    field("dead_letters.subject_prefix", "dlq", "A letter's subject is <prefix>.<original subject>.<position>"),
    field("dead_letters.max_age", "0s", "Age at which letters are removed from a stream that is created; 0s keeps them for ever"),
    field("dead_letters.duplicate_window", "24h", "How long a stream of dead letters that is created remembers an id; letters of older versions are not written again meanwhile, others never, by their subjects"),
    field("dead_letters.max_pending", "256", "Letters that are published and not yet acknowledged, at most"),

    field("consumer.name", "signals-to-clickhouse", "The durable pull consumer; instances that share it share the work"),
    field("consumer.ack_policy", "explicit", "explicit (an ack for each message) or all (an ack stands for all before it, and max_deliver for nothing); instances share the work with both. A consumer that exists keeps its policy"),
    field("consumer.ack_wait", "5s", "JetStream delivers again what is not acked for this long, such as what a killed instance held; the daemon renews it for what it holds"),
    field("consumer.max_deliver", "20", "Deliveries after which a message that is never acked, such as one that ends the process, is tried alone and then goes to the dead letters; 0 is no bound"),
    field("consumer.max_ack_pending", "200000", "Messages delivered and not acked, over all instances"),
    field("consumer.max_in_flight_messages", "50000", "Messages that one instance holds at once"),
    field("consumer.max_in_flight_bytes", "64MiB", "Bytes of messages that one instance holds at once"),
    field("consumer.fetch_messages", "5000", "Messages that one pull asks for"),
    field("consumer.fetch_bytes", "8MiB", "Bytes that one pull asks for; more than the server's max_payload"),
    field("consumer.fetch_expires", "5s", "How long a pull waits for messages"),
    field("consumer.pulls", "2", "Pulls that are open at once"),

    known_as("CLICKHOUSE_URL", field("clickhouse.url", "http://127.0.0.1:8123", "The HTTP interface")),
    known_as("CLICKHOUSE_USER", field("clickhouse.user", "admin", "User")),
    known_as("CLICKHOUSE_PASSWORD", secret(field("clickhouse.password", "", "The user's password"))),
    field("clickhouse.ca_file", "", "PEM file of the CAs that are trusted with https, in place of the system's"),
    field("clickhouse.cert_file", "", "PEM file of the client's certificate, where the server asks for one"),
    field("clickhouse.key_file", "", "PEM file of that certificate's private key"),
    known_as("CLICKHOUSE_DATABASE", field("clickhouse.database", "risksignal", "Database; created when absent")),
    field("clickhouse.table", "raw_signals", "Table of signals; created when absent"),
    field("clickhouse.compression", "auto", "How batches are compressed on their way: auto (none to this machine, otherwise lz4), lz4 or none"),
    field("clickhouse.send_timeout", "5s", "How long sending a part of a batch may block"),
    field("clickhouse.end_timeout", "15s", "How long the answer to an insert or a query may take"),
    field("clickhouse.fence", "2m", "From a claim to the time when ClickHouse refuses its block; what cannot be completed is sent again after it"),
    field("clickhouse.late_commit", "30s", "How much later than its fence a block may still be committed, and how far ClickHouse's clock may step back"),
    field("clickhouse.max_concurrent_inserts", "2", "Inserts under way at once"),
    field("clickhouse.retry_min", "100ms", "Pause before the first retry; it doubles from there, with jitter"),
    field("clickhouse.retry_max", "10s", "Longest pause between two retries"),
    field("clickhouse.migrate", "true", "Whether `risksignal run` brings the schema up to date when it starts"),
    field("clickhouse.retention", "0s", "Rows are removed this long after their arrival; 0s sets no TTL"),

    live(field("batch.max_rows", "20000", "Rows at which a batch closes")),
    live(field("batch.max_bytes", "16MiB", "Encoded bytes at which a batch closes")),
    live(field("batch.max_wait", "250ms", "Longest time that a batch collects; it is shorter the fewer signals come")),
    live(field("batch.max_inserts_per_second", "250", "Batches a second of one instance; fewer spare ClickHouse work and let a signal wait for longer")),

    live(field("validation.max_signal_bytes", "1MiB", "Bytes of a message")),
    live(field("validation.source_id_max_chars", "128", "Characters of source_id")),
    live(field("validation.event_type_max_chars", "128", "Characters of event_type")),
    live(field("validation.user_id_max_chars", "256", "Characters of user_id")),
    live(field("validation.wallet_address_max_chars", "256", "Characters of wallet_address")),
    live(field("validation.severity_max", "5", "Highest severity; the lowest is 0")),
    live(field("validation.payload", "warn", "Payloads that do not keep their type's contract: off (not looked at), warn (counted, and told in the row) or enforce (dead letters); by event type such as warn, transaction=enforce, risk_event=off")),
    live(field("validation.schemas", "", "Folder of JSON Schemas (2020-12), each the contract of the event type that its file is named after: <event_type>.json")),

    live(known_as("RUST_LOG", field("log.filter", "info,async_nats=warn", "What is logged, such as info,risksignal=debug"))),
    field("log.format", "auto", "auto (pretty on a terminal, otherwise json), pretty or json"),
    live(field("log.lines_per_second", "10", "Lines a second for batches and for dead letters, and lines of any other kind in each summary_interval; beyond, a summary takes their place")),
    live(field("log.summary_interval", "5s", "How often the summary is written")),

    field("ops.listen", "127.0.0.1:9464", "Where metrics, health and the live page are served: an address and a port, or off"),
    secret(field("ops.token", "", "Asked for by metrics, status and the live page, as a bearer token or as any user's password; set it beyond loopback")),
    live(field("ops.cert_file", "", "PEM file of the certificate that clients are shown over https; unset, the token, the page and the rest go in plain text")),
    live(field("ops.key_file", "", "PEM file of that certificate's private key")),

    field("serve.listen", "127.0.0.1:9465", "Where `risksignal serve` takes signals over HTTP: an address and a port"),
    field("serve.with_run", "false", "Whether `risksignal run` serves too, in the same process"),
    live(field("serve.tokens_file", "", "TOML file of the tokens that clients may show; `risksignal serve token` makes entries of it")),
    live(field("serve.cert_file", "", "PEM file of the certificate that clients are shown over https; unset, signals and tokens come in plain text")),
    live(field("serve.key_file", "", "PEM file of that certificate's private key")),
    field("serve.cors_origins", "", "Origins whose pages may send, such as https://app.example.com, separated by commas; unset for none"),
    field("serve.max_connections", "256", "Connections at once; beyond, a new one takes the place of one that waits for its client"),
    field("serve.max_connections_per_client", "64", "Connections of one address (IPv6: of one /64) at once; behind a proxy as many as serve.max_connections"),
    field("serve.max_body_bytes", "8MiB", "Bytes of a request's body, as it is sent and after decompression"),
    field("serve.max_held_bytes", "64MiB", "Bytes of all bodies that are not answered yet; beyond, clients are told to come later"),
    field("serve.max_signals", "1000", "Signals of a request"),
    field("serve.max_unanswered", "10000", "Signals published without JetStream's answer yet, at most; beyond, clients are told to come later"),
    field("serve.max_queries", "16", "Questions that ClickHouse is asked at once for clients; more wait for their turn"),
    field("serve.query_timeout", "5s", "How long ClickHouse may take for one of them"),
    field("serve.body_timeout", "10s", "How long a request's body may take to arrive"),
    field("serve.answer_timeout", "30s", "How long a client may take to read an answer"),

    known_as("REDIS_URL", field("cache.url", "", "Redis, which then knows the current state of each wallet: redis://host:6379 or rediss://host:6379, with the number of a database such as /0; unset for none")),
    field("cache.user", "", "User, where Redis has an ACL; unset for its default user"),
    secret(field("cache.password", "", "The user's password")),
    field("cache.ca_file", "", "PEM file of the CAs that are trusted with rediss, in place of the system's"),
    field("cache.cert_file", "", "PEM file of the client's certificate, where the server asks for one"),
    field("cache.key_file", "", "PEM file of that certificate's private key"),
    field("cache.prefix", "risksignal:", "Begins every key, so that several tables can share a Redis"),
    field("cache.ttl", "7d", "How long a wallet stays in Redis without a new signal"),
    field("cache.timeout", "500ms", "How long Redis may take for an answer; then the cache is stale, and ClickHouse is asked"),
    field("cache.max_queue_bytes", "16MiB", "Bytes of committed rows that wait to be told to Redis; beyond, the cache is stale"),
    field("cache.max_wallets", "100000", "Wallets, those of the newest signals, that are brought back from ClickHouse when the cache was stale"),

    known_as("OTEL_EXPORTER_OTLP_ENDPOINT", field("otel.endpoint", "", "Where traces go, by OTLP over HTTP (protobuf), such as http://127.0.0.1:4318; unset for nowhere")),
    known_as("OTEL_EXPORTER_OTLP_HEADERS", secret(field("otel.headers", "", "Headers of each request, such as a vendor's token: name=value, separated by commas, values percent-encoded"))),
    known_as("OTEL_EXPORTER_OTLP_CERTIFICATE", field("otel.ca_file", "", "PEM file of the CAs that are trusted with https, in place of the system's")),
    known_as("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", field("otel.cert_file", "", "PEM file of the client's certificate, where the receiver asks for one")),
    known_as("OTEL_EXPORTER_OTLP_CLIENT_KEY", field("otel.key_file", "", "PEM file of that certificate's private key")),
    field("otel.timeout", "10s", "How long one request may take, and until when it is tried again; then its spans are dropped"),
    known_as("OTEL_SERVICE_NAME", field("otel.service_name", "risksignal-ingest", "The resource attribute service.name")),
    known_as("OTEL_RESOURCE_ATTRIBUTES", field("otel.resource_attributes", "", "Further resource attributes, such as deployment.environment.name=production: name=value, separated by commas")),
    field("otel.sample_ratio", "1", "Share of batches and dead letters that get spans, from 0 to 1"),
    known_as("OTEL_SPAN_LINK_COUNT_LIMIT", field("otel.max_links", "128", "Links from one span to those of the signals' publishers")),
    known_as("OTEL_BSP_MAX_QUEUE_SIZE", field("otel.max_queued_spans", "2048", "Spans that wait to be sent; what comes beyond is dropped")),

    live(field("shutdown.grace", "25s", "How long a stop may take to commit and ack what is held")),
];

/// `.env.example`: every variable with its default and its line.
#[cfg(test)]
pub(super) fn env_example() -> String {
    let mut text = String::from(
        "# Every environment variable of risksignal, with its default. Copy to .env and uncomment\n\
         # what you change. A variable that is set and empty counts as unset. Where two names are\n\
         # given for a setting, the RISKSIGNAL__ one wins. A name that ends in _FILE takes the path\n\
         # of a file that holds the secret; only one of both may be set.\n",
    );
    let mut section = "";
    for field in FIELDS {
        if field.section() != section {
            section = field.section();
            text += &format!("\n# --- {section}\n");
        }
        text.push('\n');
        text += &field.comment();
        let names = field.alias.map(str::to_owned).into_iter();
        for name in names.chain([field.variable()]) {
            text += &format!("#{name}={}\n", field.default);
            if field.secret {
                text += &format!("#{name}{FILE_SUFFIX}=\n");
            }
        }
    }
    text
}

/// `risksignal.example.toml`: the same for the file.
#[cfg(test)]
pub(super) fn toml_example() -> String {
    let mut text = String::from(
        "# Every setting of risksignal, with its default. Copy to risksignal.toml, or name the copy\n\
         # with --config, and uncomment what you change. The environment wins over this file. A\n\
         # secret may be given as the path of a file that holds it; only one of both may be set.\n",
    );
    let mut section = "";
    for field in FIELDS {
        if field.section() != section {
            section = field.section();
            text += &format!("\n[{section}]\n");
        }
        let key = &field.key[section.len() + 1..];
        let bare = field.default.parse::<u64>().is_ok() || field.default == "true";
        let value = if bare {
            field.default.to_owned()
        } else {
            format!("\"{}\"", field.default)
        };
        text += &field.comment();
        text += &format!("#{key} = {value}\n");
        if field.secret {
            text += &format!("#{key}_file = \"\"\n");
        }
    }
    text
}
