//! `risksignal check`: is everything as the daemon needs it? Changes nothing.

mod room;
mod window;

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use claims_log::LogStream;

use crate::cache::Redis;
use crate::jetstream::topology::{self, TopologyError};
use crate::jetstream::{self, advisories, consumer};
use crate::settings::{AckPolicy, Settings, redacted_url};
use crate::store::schema::SchemaError;
use crate::store::{ProfileError, Store, migrations};

use window::shares;

/// What is checked; a failure adds its number to the exit status.
#[derive(Debug, Clone, Copy)]
enum Part {
    Nats = 1,
    Stream = 2,
    Consumer = 4,
    ClickHouse = 8,
    Schema = 16,
    Cache = 32,
    /// Counts as the streams do: with a number of its own the sum could be 78, which says that the
    /// settings are faulty.
    Claims,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Stream => "stream",
            Self::Consumer => "consumer",
            Self::ClickHouse => "clickhouse",
            Self::Schema => "schema",
            Self::Cache => "cache",
            Self::Claims => "claims",
        }
    }
}

/// Oldest servers that the daemon is tested with.
const NATS_MIN: (i64, i64, i64) = (2, 10, 0);
const CLICKHOUSE_MIN: (u32, u32) = (25, 3);

/// The lines written so far, and the exit status they add up to.
#[derive(Debug, Default)]
struct Report {
    status: u8,
}

impl Report {
    fn ok(&self, part: Part, what: impl Display) {
        print(part.name(), "ok", what);
    }

    fn warn(&self, name: &str, what: impl Display) {
        print(name, "WARN", what);
    }

    fn wrong(&mut self, part: Part, what: impl Display) {
        self.status |= match part {
            Part::Claims => Part::Stream as u8,
            part => part as u8,
        };
        print(part.name(), "WRONG", what);
    }
}

/// Prints a line. Where nobody reads it any more, the exit status is still of use.
fn print(name: &str, verdict: &str, what: impl Display) {
    let _ = writeln!(io::stdout(), "{name:<11} {verdict:<6} {what}");
}

/// Prints a line for each part, and returns the exit status: 0, or the sum of the numbers of
/// the parts that are wrong.
pub async fn check(settings: &Settings) -> u8 {
    print("settings", "ok", "no faults");
    let mut report = Report::default();
    match jetstream::connect_noting_denials(&settings.nats, "risksignal check").await {
        Ok((client, denials)) => {
            nats(&client, settings, &mut report).await;
            for denied in denials.all() {
                report.wrong(
                    Part::Nats,
                    format!(
                        "nats.user {} is denied what is needed: {denied}; add the subject to its permissions (infra/nats/least-privilege.conf)",
                        settings.nats.user
                    ),
                );
            }
        }
        Err(error) => {
            report.wrong(Part::Nats, error);
            for part in [Part::Stream, Part::Consumer, Part::Claims] {
                report.wrong(part, "not checked, since NATS is away");
            }
        }
    }
    clickhouse(settings, &mut report).await;
    cache(settings, &mut report).await;
    report.status
}

/// Nothing is told of a cache that nobody has set.
async fn cache(settings: &Settings, report: &mut Report) {
    match Redis::new(&settings.cache) {
        Ok(None) => {}
        Ok(Some(redis)) => match redis.version().await {
            Ok(version) => report.ok(Part::Cache, format!("{}, Redis {version}", redis.url())),
            Err(error) => report.wrong(Part::Cache, error),
        },
        Err(error) => report.wrong(Part::Cache, error),
    }
}

async fn nats(client: &Client, settings: &Settings, report: &mut Report) {
    let server = client.server_info();
    let url = redacted_url(&settings.nats.url);
    let (major, minor, patch) = NATS_MIN;
    if !client.is_server_compatible(major, minor, patch) {
        report.wrong(
            Part::Nats,
            format!("{url} runs {}, older than {major}.{minor}", server.version),
        );
    } else if let Err(error) = topology::check_fetch(client, &settings.consumer) {
        report.wrong(Part::Nats, error);
    } else {
        report.ok(Part::Nats, format!("{url}, nats-server {}", server.version));
    }
    let context = jetstream::context(client, &settings.nats);
    streams(&context, settings, report).await;
    consumer(&context, settings, report).await;
    claims(&context, settings, report).await;
    room::nats(&context, settings, report).await;
}

/// The claims log: that it keeps every record.
async fn claims(context: &Context, settings: &Settings, report: &mut Report) {
    let clickhouse = &settings.clickhouse;
    let (database, table) = (&clickhouse.database, &clickhouse.table);
    let log = LogStream::new(context.clone(), &settings.stream.name, database, table);
    match log.check().await {
        Ok(Some(info)) => report.ok(
            Part::Claims,
            format!(
                "{} keeps every record: {} since the newest snapshot, {} bytes",
                log.name(),
                info.state.messages,
                info.state.bytes
            ),
        ),
        Ok(None) => report.wrong(
            Part::Claims,
            format!("{} does not exist; `risksignal run` creates it", log.name()),
        ),
        Err(error) => report.wrong(Part::Claims, error),
    }
}

async fn streams(context: &Context, settings: &Settings, report: &mut Report) {
    let wanted = topology::wanted_streams(settings).into_iter();
    let advisories = (
        advisories::stream_name(settings),
        advisories::subject(settings),
    );
    for (name, needed) in wanted.chain([advisories]) {
        match topology::find_stream(context, &name).await {
            Ok(None) => report.wrong(
                Part::Stream,
                format!("{name} does not exist; `risksignal run` creates it"),
            ),
            Ok(Some(info)) => match topology::check_subjects(&info, &needed) {
                Ok(()) => report.ok(
                    Part::Stream,
                    format!(
                        "{name} takes {}, {} messages, {} bytes",
                        info.config.subjects.join(" "),
                        info.state.messages,
                        info.state.bytes
                    ),
                ),
                Err(error) => report.wrong(Part::Stream, error),
            },
            Err(error) => report.wrong(Part::Stream, error),
        }
    }
}

async fn consumer(context: &Context, settings: &Settings, report: &mut Report) {
    let name = &settings.consumer.name;
    let found = async {
        let found = consumer::find(context, &settings.stream.name, name).await?;
        let Some(info) = found else { return Ok(None) };
        let policy = consumer::check(&settings.stream.name, &info)?;
        let lost = advisories::lost(context, settings).await?;
        Ok::<_, TopologyError>(Some((info, policy, lost)))
    };
    match found.await {
        Ok(None) => report.wrong(
            Part::Consumer,
            format!("{name} does not exist; `risksignal run` creates it"),
        ),
        Ok(Some((_, _, lost))) if lost > 0 => report.wrong(
            Part::Consumer,
            format!(
                "{name} has given up on messages, and the advisories on {lost} of them are lost, so that they may have neither row nor dead letter: {}",
                advisories::LOST_REMEDY
            ),
        ),
        Ok(Some((info, policy, _))) => report.ok(
            Part::Consumer,
            format!(
                "{name}, {} pending, {} delivered and not acked, {} delivered again; {}",
                info.num_pending,
                info.num_ack_pending,
                info.num_redelivered,
                acks(policy, settings.consumer.ack_policy)
            ),
        ),
        Err(error) => report.wrong(Part::Consumer, error),
    }
}

/// The ack policy in force, and the setting where it is another one.
fn acks(policy: AckPolicy, setting: AckPolicy) -> String {
    let meaning = match policy {
        AckPolicy::Explicit => "an ack for each message",
        AckPolicy::All => "an ack for all messages before it, without max_deliver",
    };
    let differs = if policy == setting {
        String::new()
    } else {
        format!(
            ", since the consumer exists; consumer.ack_policy is {}",
            setting.as_str()
        )
    };
    format!("{meaning} (ack_policy {}{differs})", policy.as_str())
}

async fn clickhouse(settings: &Settings, report: &mut Report) {
    let url = redacted_url(&settings.clickhouse.url);
    let store = match Store::new(&settings.clickhouse) {
        Ok(store) => store.with_tokens(settings.tokens_needed()),
        Err(error) => {
            report.wrong(Part::ClickHouse, format!("{url}: {error}"));
            report.wrong(Part::Schema, "not checked, since ClickHouse was not asked");
            return;
        }
    };
    let version = match store.version().await {
        Ok(version) => version,
        Err(error) => {
            // What forbids a setting forbids any question.
            let told = match store.check_profile().await {
                Err(told @ ProfileError::Settings(_)) => told.to_string(),
                _ => error.to_string(),
            };
            report.wrong(Part::ClickHouse, format!("{url}: {told}"));
            report.wrong(Part::Schema, "not checked, since ClickHouse gave no answer");
            return;
        }
    };
    room::clickhouse(&store, report).await;
    let verified = store.verify().await;
    match &verified {
        _ if is_older(&version, CLICKHOUSE_MIN) => report.wrong(
            Part::ClickHouse,
            format!(
                "{url} runs {version}, older than {}.{}",
                CLICKHOUSE_MIN.0, CLICKHOUSE_MIN.1
            ),
        ),
        Err(SchemaError::Profile(error)) => {
            report.wrong(Part::ClickHouse, format!("{url}: {error}"));
        }
        _ => match store.probe_insert().await {
            Err(error) if !error.concerns_schema() => {
                report.wrong(Part::ClickHouse, format!("{url}: {error}"));
            }
            _ => report.ok(Part::ClickHouse, format!("{url}, ClickHouse {version}")),
        },
    }
    schema(&store, verified, settings.tokens_needed(), report).await;
}

async fn schema(
    store: &Store,
    verified: Result<(), SchemaError>,
    tokens_needed: u64,
    report: &mut Report,
) {
    match verified {
        Ok(()) => {}
        Err(SchemaError::Profile(_)) => {
            return report.wrong(
                Part::Schema,
                "not checked, since the user is not as it must be",
            );
        }
        Err(error) => return report.wrong(Part::Schema, error),
    }
    let version = match store.schema_version().await {
        Ok(Some(version)) if version > migrations::NEWEST => format!(
            "at version {version}: a newer release has migrated it, this one knows {}",
            migrations::NEWEST
        ),
        Ok(Some(version)) => format!("at version {version}"),
        Ok(None) => "not made by `risksignal migrate`".to_owned(),
        Err(error) => return report.wrong(Part::Schema, error),
    };
    if let Err(error) = store.longest_fence(Duration::ZERO).await {
        return report.wrong(Part::Schema, error);
    }
    let tokens = match store.window().await {
        Ok(tokens) => tokens,
        Err(error) => return report.wrong(Part::Schema, error),
    };
    report.ok(
        Part::Schema,
        format!(
            "{} has every column, keeps {tokens} deduplication tokens, {version}",
            store.table()
        ),
    );
    match store
        .logs()
        .await
        .map(|logs| shares(tokens, tokens_needed, &logs))
    {
        Ok(None) => {}
        Ok(Some(Ok(told))) => report.ok(Part::Schema, told),
        Ok(Some(Err(told))) => report.warn("window", told),
        Err(error) => report.wrong(Part::Schema, error),
    }
    match store.repeating_views().await {
        Ok(views) => views.iter().for_each(|view| report.warn("views", view)),
        Err(error) => report.warn("views", error),
    }
}

/// Whether a version such as `26.7.3.1` is older than `min`; one that cannot be read is not.
fn is_older(version: &str, min: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < min,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        for (version, older) in [
            ("25.3.1.1", false),
            ("25.2.9.9", true),
            ("26.1.1.1", false),
            ("9.9", true),
            ("head", false),
        ] {
            assert_eq!(is_older(version, CLICKHOUSE_MIN), older, "{version}");
        }
    }
}
