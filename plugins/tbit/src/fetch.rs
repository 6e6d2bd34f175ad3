//! null: fetches and closes; the options that were granted are the result.

use crate::{
    rows::Verdict,
    session::{SILENCE, Session},
};

/// Fetches to the end.
pub(crate) async fn null(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    session.connection.write(&request);
    to_the_end(session).await?;
    Ok(if session.has_data() { Verdict::NullSuccess } else { Verdict::NullNoData })
}

/// Takes and acknowledges all that the server still says.
pub(crate) async fn to_the_end(session: &mut Session<'_>) -> Result<(), Verdict> {
    while !session.is_over() {
        let Some(segment) = session.connection.next(SILENCE).await else { return Ok(()) };
        session.ends(&segment)?;
        session.accept(&segment);
    }
    Ok(())
}
