//! Types that cross from one stage to another. They import no stage: each proof of what may be
//! acked can be made only by what it proves.

pub mod ack_subject;
pub mod batch;
pub mod committed;
pub mod delivery;
pub mod halt;
pub mod in_flight;
pub mod logged;
pub mod permit;
pub mod reason;
pub mod rejected;
pub mod reply;
pub mod settled;
pub mod source;
