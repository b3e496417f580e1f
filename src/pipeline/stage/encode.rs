//! From a message to its row.

use signal::{Limits, Signal};
use store::Rows;
use store::row::RowOrigin;

use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::reason::Reason;

/// Adds the signal's row, or says why there is none. `seen` sees the signal.
pub fn encode(
    delivery: &Delivery,
    limits: &Limits,
    rows: &mut Rows,
    seen: impl FnOnce(&Signal<'_>),
) -> Result<(), Reason> {
    let (subject, body) = (delivery.subject(), delivery.body());
    let signal = Signal::parse(body, &subject, limits).map_err(Reason::Invalid)?;
    let origin = RowOrigin {
        subject: &subject,
        stream_created_ns: delivery.position.stream_created_ns,
        stream_seq: delivery.position.stream_seq,
        published_ns: delivery.position.published_ns,
    };
    rows.push(&signal, delivery.message.block(), &origin);
    seen(&signal);
    Ok(())
}
