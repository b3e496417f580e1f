//! `dead-letters export`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use jetstream::dead_letter::{DeadLetterStream, DeadLetterStreamError, WholeDeadLetter};

use super::json::WholeJson;
use super::output;
use super::select::Chosen;
use super::{DeadLettersError, ExportArgs};

/// Dead letters that are fetched at once; each is held in memory completely.
const FETCHES: usize = 16;

/// Writes dead letters to a file or to standard output.
pub(super) async fn export(
    args: &ExportArgs,
    letters: &DeadLetterStream,
) -> Result<(), DeadLettersError> {
    if args.file == Path::new("-") {
        let mut out = output::standard();
        write(args, letters, &mut out).await?;
        return Ok(out.flush()?);
    }
    let failed = |source| DeadLettersError::File {
        path: args.file.clone(),
        source,
    };
    let file = File::create_new(&args.file).map_err(failed)?;
    let mut out = BufWriter::new(file);
    let count = match write(args, letters, &mut out).await {
        Err(DeadLettersError::Output(source)) => return Err(failed(source)),
        written => written?,
    };
    let file = out.into_inner().map_err(|error| failed(error.into_error()));
    // Synced to disk, since the user may remove the exported dead letters next.
    file?.sync_all().map_err(failed)?;
    let path = args.file.display();
    output::note(format_args!("exported {count} dead letters to {path}"));
    Ok(())
}

async fn write(
    args: &ExportArgs,
    letters: &DeadLetterStream,
    out: &mut impl Write,
) -> Result<u64, DeadLettersError> {
    let mut chosen = Chosen::new(letters, &args.selection);
    let mut fetches = FuturesOrdered::new();
    let mut count = 0;
    loop {
        while fetches.len() < FETCHES
            && let Some(head) = chosen.next_letter().await?
        {
            fetches.push_back(async move { letters.whole(head.sequence).await });
        }
        match fetches.next().await {
            None => return Ok(count),
            Some(Ok(letter)) => {
                line(out, &letter)?;
                count += 1;
            }
            // The dead letter was replayed or removed since its head was read.
            Some(Err(DeadLetterStreamError::NoLetter { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

fn line(out: &mut impl Write, letter: &WholeDeadLetter) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &WholeJson::from(letter)).map_err(io::Error::from)?;
    writeln!(out)
}
