//! NATS: the server, the streams, the consumer, the claims log, and the user's permissions.

use std::collections::BTreeSet;

use async_nats::Client;
use async_nats::jetstream::Context;
use claims_log::LogStream;
use jetstream::AckPolicy;
use jetstream::topology::{self, TopologyError};
use jetstream::{self, Denials, advisories, consumer};
use option_kit::redacted_url;
use store::Store;

use crate::conditions;
use crate::settings::Settings;

use super::needs::{self, JetStreamState};
use super::report::{Area, CheckReport};
use super::room;

const AS_RUN_DOES: &str = "`risksignal run` creates it";
const LOOK: &str = "check the state of nats-server, and the permissions of nats.user (infra/nats/least-privilege.conf)";

/// Checks NATS.
pub(super) async fn check(settings: &Settings, report: &mut CheckReport) {
    match jetstream::connect_noting_denials(&settings.nats, "risksignal check").await {
        Ok((client, denials)) => connected(&client, &denials, settings, report).await,
        Err(error) => {
            let remedy = "start nats-server, and check nats.url and the login";
            report.error(Area::Nats, "nats_unreachable", error, remedy);
            for area in [Area::Stream, Area::Consumer, Area::Claims, Area::Storage] {
                let text = "not checked, since NATS is unreachable";
                report.error(area, "not_checked", text, remedy);
            }
        }
    }
}

async fn connected(
    client: &Client,
    denials: &Denials,
    settings: &Settings,
    report: &mut CheckReport,
) {
    let url = redacted_url(&settings.nats.url);
    let version = client.server_info().version;
    if let Some(condition) = conditions::judge_nats_version(&version) {
        report.warning(Area::Nats, &condition, None);
    } else if let Err(error) = topology::check_fetch(client, &settings.consumer) {
        report.error(
            Area::Nats,
            "fetch_too_small",
            error,
            "raise consumer.fetch_bytes",
        );
    } else {
        let text = format!("{url}, nats-server {version}");
        report.ok(Area::Nats, "nats_connected", text);
    }
    let context = jetstream::context(client, &settings.nats);
    let mut found = JetStreamState::default();
    streams(&context, settings, &mut found, report).await;
    consumer(&context, settings, &mut found, report).await;
    claims(&context, settings, &mut found, report).await;
    found.purges = room::nats(&context, settings, report).await;
    permissions(client, denials, settings, &found, report).await;
}

/// Tries every subject that the daemon publishes on.
async fn permissions(
    client: &Client,
    denials: &Denials,
    settings: &Settings,
    found: &JetStreamState,
    report: &mut CheckReport,
) {
    let needs = needs::list_needs(settings, found);
    let untaken = needs::try_all(client, &needs).await;
    let denied = denials.all();
    let who = match settings.nats.user.as_str() {
        "" => "the daemon's login".to_owned(),
        user => format!("nats.user {user}"),
    };
    let remedy = "add the subject to its permissions (infra/nats/least-privilege.conf), or run the check with the daemon's own login";
    for denied in &denied {
        let text = format!("{who} is denied subjects that the daemon needs: {denied}");
        report.fault(Area::Nats, "nats_denied", text, remedy);
    }
    let is_denied = |subject: &str| {
        let subject = format!("\"{}\"", subject.to_lowercase());
        denied
            .iter()
            .any(|denied| denied.to_lowercase().contains(&subject))
    };
    let unanswered = untaken.iter().filter(|(need, _)| !is_denied(&need.subject));
    for (need, why) in unanswered {
        let text = format!(
            "a trial of {} got no answer from JetStream: {why}",
            need.subject
        );
        report.fault(Area::Nats, "nats_unanswered", text, LOOK);
    }
    if untaken.is_empty() && denied.is_empty() {
        let count = needs.len();
        let text = format!("{who} may use all {count} subjects that the daemon needs");
        report.ok(Area::Nats, "nats_permitted", text);
    }
}

/// Returns the names of the ledger that the claims log must belong to; `None` if ClickHouse does
/// not answer, which the check of ClickHouse reports.
async fn ledger(settings: &Settings) -> Option<BTreeSet<String>> {
    let store = Store::new(&settings.clickhouse).ok()?;
    store.learn_ledger().await.ok()?;
    store.ledger_names()
}

/// Checks that the claims log keeps every record, and belongs to this ClickHouse.
async fn claims(
    context: &Context,
    settings: &Settings,
    found: &mut JetStreamState,
    report: &mut CheckReport,
) {
    let clickhouse = &settings.clickhouse;
    let (database, table) = (&clickhouse.database, &clickhouse.table);
    let log = LogStream::new(context.clone(), &settings.stream.name, database, table)
        .with_ledger(ledger(settings).await);
    match log.check().await {
        Ok(Some(info)) => report.ok(
            Area::Claims,
            "claims_log_sound",
            format!(
                "{} keeps every record: {} since the newest snapshot, {} bytes",
                log.name(),
                info.state.messages,
                info.state.bytes
            ),
        ),
        Ok(None) => {
            found.absent_streams.push(log.name().to_owned());
            let text = format!("{} does not exist", log.name());
            report.fault(Area::Claims, "claims_log_absent", text, AS_RUN_DOES);
        }
        Err(error) => {
            let remedy = "restore it, as the text says (nats stream edit), or check the state of nats-server";
            report.error(Area::Claims, "claims_log_unsound", error, remedy);
        }
    }
}

async fn streams(
    context: &Context,
    settings: &Settings,
    found: &mut JetStreamState,
    report: &mut CheckReport,
) {
    let wanted = topology::wanted_streams(settings.plan()).into_iter();
    let advisories = (
        advisories::stream_name(settings.plan()),
        advisories::subject(settings.plan()),
    );
    for (name, needed) in wanted.chain([advisories]) {
        match topology::find_stream(context, &name).await {
            Ok(None) => {
                let text = format!("{name} does not exist");
                report.fault(Area::Stream, "stream_absent", text, AS_RUN_DOES);
                found.absent_streams.push(name);
            }
            Ok(Some(info)) => match topology::check_subjects(&info, &needed) {
                Ok(()) => report.ok(
                    Area::Stream,
                    "stream_sound",
                    format!(
                        "{name} has the subjects {}, {} messages, {} bytes",
                        info.config.subjects.join(" "),
                        info.state.messages,
                        info.state.bytes
                    ),
                ),
                Err(error) => {
                    let remedy = format!("nats stream edit {name} --subjects '{needed}'");
                    report.error(Area::Stream, "stream_subjects", error, &remedy);
                }
            },
            Err(error) => report.error(Area::Stream, "stream_unknown", error, LOOK),
        }
    }
}

async fn consumer(
    context: &Context,
    settings: &Settings,
    found: &mut JetStreamState,
    report: &mut CheckReport,
) {
    let (stream, name) = (&settings.stream.name, &settings.consumer.name);
    let looked = async {
        let Some(info) = consumer::find(context, stream, name).await? else {
            return Ok(None);
        };
        let policy = consumer::check(stream, &info)?;
        let lost = advisories::lost_count(context, settings.plan()).await?;
        Ok::<_, TopologyError>(Some((info, policy, lost)))
    };
    match looked.await {
        Ok(None) => {
            found.is_consumer_absent = true;
            let text = format!("{name} does not exist");
            report.fault(Area::Consumer, "consumer_absent", text, AS_RUN_DOES);
        }
        Ok(Some((info, policy, lost))) => {
            let condition = conditions::judge_consumer(stream, &info);
            if let Some(condition) = &condition {
                report.warning(Area::Consumer, condition, None);
            }
            if lost > 0 {
                let text = format!(
                    "{name} has given up on messages, and the advisories on {lost} of them are lost, so these may have neither row nor dead letter"
                );
                let remedy = advisories::LOST_REMEDY;
                report.fault(Area::Consumer, "advisories_lost", text, remedy);
            } else if condition.is_none() {
                let text = format!(
                    "{name}, {} pending, {} delivered and not acked, {} delivered again; {}",
                    info.num_pending,
                    info.num_ack_pending,
                    info.num_redelivered,
                    acks(policy, settings.consumer.ack_policy)
                );
                report.ok(Area::Consumer, "consumer_sound", text);
            }
        }
        Err(error @ TopologyError::ConsumerConflict { .. }) => {
            let remedy = format!("nats consumer rm {stream} {name}");
            report.error(Area::Consumer, "consumer_unusable", error, &remedy);
        }
        Err(error) => report.error(Area::Consumer, "consumer_unknown", error, LOOK),
    }
}

/// Describes the ack policy in force, and the setting if it differs.
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
