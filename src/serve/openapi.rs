//! Requests of clients, in the form of OpenAPI 3.1: a document that is kept beside the routes.
//! `tests/it/serve_openapi.rs` holds every route and status to it.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// The document.
const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}
