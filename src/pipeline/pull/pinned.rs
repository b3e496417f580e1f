//! What a pull keeps where one instance at a time has the consumer's messages, and the others
//! stand by: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-42.md>.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::Context;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::jetstream::consumer::{self, PIN_ID, PRIORITY_GROUP};
use crate::jetstream::topology::TopologyError;
use crate::pipeline::ack_floor::{AckFloor, Pending};
use crate::settings::Settings;

/// Between two looks at a consumer of which all that is pending is known.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Whether this instance has the messages, and up to where it may ack them.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Pinned {
    floor: Arc<AckFloor>,
    /// What the server calls this instance while it has them.
    id: Option<String>,
    looked_at: Option<Instant>,
    /// Whether it was told that another one has them.
    stands_by: bool,
}

impl Pinned {
    /// An instance that has nothing yet.
    pub fn new(floor: Arc<AckFloor>) -> Self {
        Self {
            floor,
            id: None,
            looked_at: None,
            stands_by: false,
        }
    }

    /// What is known of the pending messages.
    pub fn floor(&self) -> &AckFloor {
        &self.floor
    }

    /// What the requests of this instance say it is.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Learns from a message that this instance has them.
    pub fn learn(&mut self, message: &Message) {
        let headers = message.headers.as_ref();
        let Some(id) = headers.and_then(|headers| headers.get(PIN_ID)) else {
            return;
        };
        if self.id() != Some(id.as_str()) {
            info!("This instance has the consumer; others stand by");
            self.id = Some(id.to_string());
            self.stands_by = false;
        }
    }

    /// The server has given them to another instance.
    pub fn lost(&mut self) {
        info!("Another instance has the consumer now; this one stands by");
        self.id = None;
        self.stands_by = true;
    }

    /// Compares what is pending with what is known, where that is due. No pull may be open.
    pub async fn look(
        &mut self,
        context: &Context,
        settings: &Settings,
    ) -> Result<(), TopologyError> {
        let is_due = |at: Instant| at.elapsed() >= LOOK_INTERVAL;
        if self.floor.is_complete() && !self.looked_at.is_none_or(is_due) {
            return Ok(());
        }
        let (stream, name) = (&settings.stream.name, &settings.consumer.name);
        let Some(found) = consumer::find(context, stream, name).await? else {
            return Ok(());
        };
        self.looked_at = Some(Instant::now());
        self.floor.compare(Pending {
            messages: found.num_ack_pending as u64,
            last_consumer_seq: found.delivered.consumer_sequence,
        });
        let groups = found.priority_groups.iter();
        let mut ids = groups.filter_map(|group| group.pinned_client_id.as_deref());
        if !self.stands_by && ids.any(|id| self.id() != Some(id)) {
            info!("Another instance has the consumer; this one stands by");
            self.stands_by = true;
        }
        Ok(())
    }

    /// Lets a standby have them at once. Where that fails it has them a little later.
    pub async fn release(&mut self, context: &Context, settings: &Settings) {
        if self.id.take().is_none() {
            return;
        }
        let released = async {
            let stream = context.get_stream_no_info(&settings.stream.name).await?;
            let unpinned = stream.unpin_consumer(&settings.consumer.name, PRIORITY_GROUP);
            Ok::<_, async_nats::Error>(unpinned.await?)
        };
        if let Err(error) = released.await {
            debug!(%error, "The consumer was not released");
        }
    }
}
