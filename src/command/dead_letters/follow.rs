//! `dead-letters list --follow`.

use std::time::Duration;

use async_nats::jetstream::Context;
use jetstream::Plan;
use jetstream::dead_letter::DeadLetterStream;
use tokio::time::sleep;
use tracing::warn;

use super::list::{Listing, add_chosen};
use super::newest::newest;
use super::select::Chosen;
use super::{DeadLettersError, ListArgs, Selection};

/// Time between two looks for new dead letters.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Prints dead letters as they come, until it is dropped. It reads the stream only when there are
/// new ones, so it leaves nothing behind on the server.
///
/// # Errors
/// Fails when JetStream fails at the start, or standard output cannot be written.
pub(super) async fn follow(
    args: &ListArgs,
    letters: &DeadLetterStream,
    context: &Context,
    plan: Plan<'_>,
) -> Result<(), DeadLettersError> {
    let mut listing = Listing::new(args.json);
    let mut position = Position {
        created_ns: letters.created_ns(),
        sequence: letters.last_sequence(),
    };
    if let Some(most) = args.newest {
        let heads = newest(letters, &args.selection, most).await?;
        let mut oldest_first = heads.iter().rev();
        oldest_first.try_for_each(|head| listing.add(head))?;
    } else if args.selection.since.is_some() {
        add_chosen(&mut listing, letters, &args.selection).await?;
    }
    loop {
        listing.flush()?;
        sleep(LOOK_INTERVAL).await;
        match position
            .read_on(&args.selection, context, plan, &mut listing)
            .await
        {
            Err(DeadLettersError::Letters(error)) => {
                warn!(%error, "Reading the dead letters failed; trying again");
            }
            read => read?,
        }
    }
}

/// Position of the last dead letter that was read.
struct Position {
    /// Creation of the stream of dead letters.
    created_ns: i128,
    sequence: u64,
}

impl Position {
    /// Adds the dead letters since.
    async fn read_on(
        &mut self,
        selection: &Selection,
        context: &Context,
        plan: Plan<'_>,
        listing: &mut Listing,
    ) -> Result<(), DeadLettersError> {
        let letters = DeadLetterStream::open(context, plan).await?;
        if letters.created_ns() != self.created_ns {
            // A recreated stream counts from one again.
            (self.created_ns, self.sequence) = (letters.created_ns(), 0);
        }
        let last = letters.last_sequence();
        if last <= self.sequence {
            return Ok(());
        }
        let new = Selection {
            seq: vec![self.sequence + 1..=last],
            ..selection.clone()
        };
        let mut chosen = Chosen::new(&letters, &new);
        while let Some(head) = chosen.next_letter().await? {
            listing.add(&head)?;
            self.sequence = head.sequence;
        }
        self.sequence = last;
        Ok(())
    }
}
