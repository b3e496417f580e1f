//! From a message to its row.

use signal::{Limits, Signal};
use store::Rows;
use store::row::RowOrigin;

use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::reason::Reason;

/// Adds the signal's row, or says why there is none.
pub fn encode<'a>(
    delivery: &'a Delivery,
    limits: &Limits,
    rows: &mut Rows,
) -> Result<Signal<'a>, Reason> {
    let Delivery { subject, body, .. } = delivery;
    let signal = Signal::parse(body, subject, limits).map_err(Reason::Invalid)?;
    let origin = RowOrigin {
        subject,
        stream_created_ns: delivery.position.stream_created_ns,
        stream_seq: delivery.position.stream_seq,
        published_ns: delivery.position.published_ns,
    };
    rows.push(&signal, body, &origin);
    Ok(signal)
}
