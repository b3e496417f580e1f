//! Configuration that a stream needs, so that a claims log in it loses no record.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};

/// Returns the first setting of the log `name` that would lose records: its key, its value, and the
/// value that it needs.
pub(crate) fn first_fault(
    config: &Config,
    name: &str,
) -> Option<(&'static str, String, &'static str)> {
    let limit = |limit: i64| (limit > 0).then(|| limit.to_string());
    let age = (!config.max_age.is_zero()).then(|| format!("{:?}", config.max_age));
    let faults = [
        ("max_age", age, "0 (none)"),
        ("max_msgs", limit(config.max_messages), "-1 (none)"),
        ("max_bytes", limit(config.max_bytes), "-1 (none)"),
        (
            "max_msg_size",
            limit(config.max_message_size.into()),
            "-1 (none)",
        ),
        (
            "max_msgs_per_subject",
            limit(config.max_messages_per_subject),
            "-1 (none)",
        ),
        (
            "discard",
            (config.discard != DiscardPolicy::New).then(|| format!("{:?}", config.discard)),
            "new",
        ),
        (
            "retention",
            (config.retention != RetentionPolicy::Limits)
                .then(|| format!("{:?}", config.retention)),
            "limits",
        ),
        (
            "deny_delete",
            (!config.deny_delete).then(|| "false".to_owned()),
            "true",
        ),
        (
            "deny_purge",
            config.deny_purge.then(|| "true".to_owned()),
            "false",
        ),
        (
            "allow_rollup_hdrs",
            (!config.allow_rollup).then(|| "false".to_owned()),
            "true",
        ),
        (
            "subjects",
            (config.subjects != [name]).then(|| config.subjects.join(" ")),
            "its own name",
        ),
    ];
    let mut faults = faults.into_iter();
    faults.find_map(|(key, found, wanted)| found.map(|found| (key, found, wanted)))
}
