//! A connection whose request was answered before its body was read is of no use for another one,
//! and its client is to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Body as _;
use net::http::{BodyProgress, ObservedBody};

/// Announces to a client that its connection is closed, when its body was not read to the end.
pub(super) async fn close(request: Request, next: Next) -> Response {
    let ended = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let watch = Arc::clone(&ended);
    let note = move |progress| {
        if progress == BodyProgress::Ends {
            watch.store(true, Ordering::Relaxed);
        }
    };
    let request = request.map(|body| Body::new(ObservedBody::new(body, note)));
    let mut response = next.run(request).await;
    if !ended.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}
