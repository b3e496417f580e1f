//! Kinds of values for JetStream's names.

use option_kit::Kind;

/// Accepts a name of a stream or consumer as JetStream does:
/// <https://docs.nats.io/running-a-nats-service/nats_admin/jetstream_admin/naming>.
pub(super) fn jetstream_name() -> Kind<String> {
    Kind::text(|name| {
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
        if name.is_empty() || name.chars().count() > 255 || name.contains(forbidden) {
            return Err(
                "must have 1 to 255 characters, none of them a space or one of . * > / \\"
                    .to_owned(),
            );
        }
        Ok(name.to_owned())
    })
}

/// Accepts the first tokens of subjects, separated by dots, without wildcards.
pub(super) fn subject_prefix() -> Kind<String> {
    Kind::text(|prefix| {
        let bad = |token: &str| {
            token.is_empty()
                || token.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c))
        };
        if prefix.split('.').any(bad) || prefix.starts_with('$') {
            return Err(
                "must be tokens separated by dots, without spaces, * or >, not beginning with $"
                    .to_owned(),
            );
        }
        Ok(prefix.to_owned())
    })
}
