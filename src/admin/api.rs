//! The HTTP API: one router, one state. Every path needs the token but `/healthz`; every answer is JSON.
//!
//! What takes longer than a moment answers when it is done, with one object; with `Accept: application/x-ndjson`
//! it tells of its steps while it goes on, a line of JSON each, as the socket does. Who hangs up stops nothing.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use futures_util::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::work::{self, Subject};
use super::{Event, Request, Why, token};
use crate::config::Secret;

/// Describes all of it, <https://spec.openapis.org/oas/v3.1.0.html>.
const OPENAPI: &str = include_str!("openapi.json");
const HEALTH: &str = "/healthz";
/// A body holds a few names.
const MAX_BODY_BYTES: usize = 16 * 1024;
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// For a question, and for removing something. Making and moving things has limits of its own, step by step.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const LINES: &str = "application/x-ndjson";

/// What all handlers share.
#[derive(Debug)]
pub struct Api {
    pub subject: Arc<Subject>,
    pub token: Secret,
}

/// All paths.
pub fn router(api: Arc<Api>) -> Router {
    let each = Router::new();
    let all =
        routes().into_iter().fold(each, |router, (path, methods)| router.route(path, methods));
    all.fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(Arc::clone(&api), guard))
        .with_state(api)
}

fn routes() -> [(&'static str, MethodRouter<Arc<Api>>); 10] {
    [
        (HEALTH, get(health)),
        ("/api/v1/openapi.json", get(openapi)),
        ("/api/v1/cluster", get(cluster)),
        ("/api/v1/cluster/switchover", post(switchover)),
        ("/api/v1/cluster/restart", post(restart)),
        ("/api/v1/snapshots", get(snapshots).post(create_snapshot)),
        ("/api/v1/snapshots/{name}", delete(remove_snapshot)),
        ("/api/v1/snapshots/{name}/run", post(run_snapshot)),
        ("/api/v1/copies", get(copies)),
        ("/api/v1/copies/{name}", delete(remove_copy)),
    ]
}

/// Lets in who has the token. A path that is added later is guarded too.
async fn guard(State(api): State<Arc<Api>>, request: HttpRequest, next: Next) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let given = request.headers().get(header::AUTHORIZATION);
    if path != HEALTH && !given.is_some_and(|value| token::is_bearer(&api.token, value.as_bytes()))
    {
        let text = format!(
            "this needs the header `Authorization: Bearer TOKEN`, with the token in {} of state_dir",
            token::FILE
        );
        let mut refusal = error(StatusCode::UNAUTHORIZED, &text);
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refusal;
    }
    if method != Method::GET {
        tracing::info!(%method, path, "asked over HTTP");
    }
    next.run(request).await
}

/// That Weir serves.
async fn health() -> Response {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn cluster(State(api): State<Arc<Api>>) -> Response {
    soon(&api, Request::Cluster, None).await
}

async fn snapshots(State(api): State<Arc<Api>>) -> Response {
    soon(&api, Request::Snapshots, Some("snapshots")).await
}

async fn copies(State(api): State<Arc<Api>>) -> Response {
    soon(&api, Request::Snapshots, Some("copies")).await
}

async fn remove_snapshot(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Response {
    soon(&api, Request::RemoveSnapshot { name }, None).await
}

async fn remove_copy(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Response {
    soon(&api, Request::RemoveCopy { name }, None).await
}

/// `{"to": "weir-2"}`, or nothing for the replica that is furthest.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Switchover {
    to: Option<String>,
}

async fn switchover(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Response {
    let Switchover { to } = match read(body).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    at_length(&api, Request::Switchover { to }, StatusCode::OK, &headers).await
}

/// `{"name": "weir-2"}` or `{"all": true}`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Restart {
    name: Option<String>,
    all: bool,
}

async fn restart(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Response {
    let Restart { name, all } = match read(body).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    if name.is_some() == all {
        let text = "say which: {\"name\": \"NODE\"}, or {\"all\": true} for all, one by one";
        return error(StatusCode::BAD_REQUEST, text);
    }
    at_length(&api, Request::Restart { name }, StatusCode::OK, &headers).await
}

/// `{"name": "nightly", "from": "weir-2"}`, each of which may be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CreateSnapshot {
    name: Option<String>,
    from: Option<String>,
}

async fn create_snapshot(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Response {
    let CreateSnapshot { name, from } = match read(body).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    at_length(&api, Request::CreateSnapshot { name, from }, StatusCode::CREATED, &headers).await
}

/// `{"as": "mine", "port": 4711, "ttl": "2h"}`, each of which may be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RunSnapshot {
    #[serde(rename = "as")]
    copy: Option<String>,
    port: Option<NonZeroU16>,
    ttl: Option<String>,
}

async fn run_snapshot(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let RunSnapshot { copy, port, ttl } = match read(body).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    let request = Request::RunSnapshot { name, copy, port: port.map(NonZeroU16::get), ttl };
    at_length(&api, request, StatusCode::CREATED, &headers).await
}

async fn no_such_path(uri: Uri) -> Response {
    let text =
        format!("there is nothing at {}; /api/v1/openapi.json says what there is", uri.path());
    error(StatusCode::NOT_FOUND, &text)
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let text =
        format!("{} does not take {method}; /api/v1/openapi.json says what it takes", uri.path());
    error(StatusCode::METHOD_NOT_ALLOWED, &text)
}

/// The body as JSON, whatever its type is said to be; an empty one has nothing in it.
async fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, Response> {
    let bytes = match tokio::time::timeout(BODY_LIMIT, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_too_long)) => {
            let text = format!("the body is longer than {MAX_BODY_BYTES} bytes, or broke off");
            return Err(error(StatusCode::PAYLOAD_TOO_LARGE, &text));
        }
        Err(_elapsed) => {
            let text = format!("the body did not come within {} s", BODY_LIMIT.as_secs());
            return Err(error(StatusCode::REQUEST_TIMEOUT, &text));
        }
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|cause| {
        let text = format!("the body is not what is taken here: {cause}; see /api/v1/openapi.json");
        error(StatusCode::BAD_REQUEST, &text)
    })
}

/// Answers what takes a moment; with `part`, with that part of it alone.
async fn soon(api: &Api, request: Request, part: Option<&str>) -> Response {
    let told = work::start(request, &api.subject);
    let Ok(end) = tokio::time::timeout(ANSWER_LIMIT, last(told)).await else {
        let text = format!(
            "the Docker Engine and the servers did not answer within {} s; see Weir's log",
            ANSWER_LIMIT.as_secs()
        );
        return error(StatusCode::GATEWAY_TIMEOUT, &text);
    };
    ended(end, |mut result| {
        let result = match part {
            Some(part) => json!({ part: result.get_mut(part).map(Value::take) }),
            None => result,
        };
        answer(StatusCode::OK, &result)
    })
}

/// Answers what may take long: at its end, or with a line for each of its steps.
async fn at_length(api: &Api, request: Request, done: StatusCode, headers: &HeaderMap) -> Response {
    let mut told = work::start(request, &api.subject);
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains(LINES)) {
        return ended(last(told).await, |result| answer(done, &result));
    }
    // What is refused at once has a status of its own; later it is too late for that.
    match told.recv().await {
        Some(
            first @ (Event::Begin { .. } | Event::Detail { .. } | Event::End | Event::Note { .. }),
        ) => {
            let lines = stream::unfold((Some(first), told), |(first, mut told)| async move {
                let event = match first {
                    Some(first) => first,
                    None => told.recv().await?,
                };
                let line = serde_json::to_vec(&event).map(|mut line| {
                    line.push(b'\n');
                    Bytes::from(line)
                });
                Some((line, (None, told)))
            });
            let body = Body::from_stream(lines);
            ([(header::CONTENT_TYPE, LINES), NOT_KEPT], body).into_response()
        }
        end => ended(end, |result| answer(done, &result)),
    }
}

/// How it ended; `None` where nobody says.
async fn last(mut told: Receiver<Event>) -> Option<Event> {
    let mut last = None;
    while let Some(event) = told.recv().await {
        last = Some(event);
    }
    last
}

fn ended(end: Option<Event>, done: impl FnOnce(Value) -> Response) -> Response {
    match end {
        Some(Event::Done { result: Value::Null, .. }) => StatusCode::NO_CONTENT.into_response(),
        Some(Event::Done { result, .. }) => done(result),
        Some(Event::Failed { text, why }) => error(status(why), &text),
        _ => {
            let text = "it ended without a word; see Weir's log";
            error(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

fn status(why: Why) -> StatusCode {
    match why {
        Why::Invalid => StatusCode::BAD_REQUEST,
        Why::Missing => StatusCode::NOT_FOUND,
        Why::Conflict => StatusCode::CONFLICT,
        Why::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Why::Failed => StatusCode::BAD_GATEWAY,
    }
}

/// Cause and remedy in one sentence or two.
fn error(status: StatusCode, text: &str) -> Response {
    answer(status, &json!({ "error": text }))
}

/// An answer may hold a password.
const NOT_KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

fn answer(status: StatusCode, object: &Value) -> Response {
    let text = format!("{object:#}\n");
    (status, [(header::CONTENT_TYPE, "application/json"), NOT_KEPT], text).into_response()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;
    use crate::cluster::NoTraffic;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// Of a Weir that keeps no cluster, so that nothing is really done.
    fn api() -> Router {
        let subject =
            Subject { cluster: None, state_dir: "/nowhere".into(), traffic: Arc::new(NoTraffic) };
        let token = Secret::new(TOKEN.to_owned());
        router(Arc::new(Api { subject: Arc::new(subject), token }))
    }

    async fn ask(method: &str, path: &str, token: &str, body: &str) -> (StatusCode, Value) {
        let request = HttpRequest::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = api().oneshot(request).await.unwrap();
        let status = answer.status();
        let challenge = answer.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(challenge, status == StatusCode::UNAUTHORIZED);
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn nothing_but_the_health_without_the_token() {
        assert_eq!(ask("GET", HEALTH, "", "").await.0, StatusCode::OK);
        let wrong = TOKEN.replace('f', "e");
        for (path, _) in routes().into_iter().filter(|(path, _)| *path != HEALTH) {
            for token in ["", wrong.as_str()] {
                let (status, body) = ask("GET", path, token, "").await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
                assert!(body["error"].as_str().unwrap().contains("admin-token"), "{body}");
            }
        }
        assert_eq!(ask("GET", "/none", "", "").await.0, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn what_is_asked_wrongly_is_refused_with_words() {
        let long = format!("{{\"to\": \"{}\"}}", "x".repeat(MAX_BODY_BYTES));
        for (method, path, body, status, words) in [
            ("GET", "/", "", 404, "openapi.json"),
            ("GET", "/api/v1/cluster/restart", "", 405, "does not take GET"),
            ("POST", "/api/v1/cluster/switchover", "{", 400, "EOF"),
            ("POST", "/api/v1/cluster/switchover", "{\"too\": 1}", 400, "unknown field `too`"),
            ("POST", "/api/v1/cluster/switchover", long.as_str(), 413, "longer than 16384"),
            ("POST", "/api/v1/cluster/restart", "", 400, "\"all\": true"),
            ("POST", "/api/v1/cluster/restart", "{\"name\":\"a\",\"all\":true}", 400, "which"),
            ("POST", "/api/v1/snapshots/a/run", "{\"port\": 0}", 400, "nonzero"),
            ("POST", "/api/v1/snapshots/a/run", "{\"port\": 70000}", 400, "70000"),
            // Right, but there is no cluster.
            ("POST", "/api/v1/cluster/switchover", "", 404, "[[servers]]"),
            ("POST", "/api/v1/cluster/restart", "{\"all\": true}", 404, "[[servers]]"),
            ("GET", "/api/v1/snapshots", "", 404, "[[servers]]"),
        ] {
            let (found, answer) = ask(method, path, TOKEN, body).await;
            assert_eq!(found, status, "{method} {path} {body}: {answer}");
            assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
        }
    }

    #[tokio::test]
    async fn the_description_has_every_path_and_method_and_no_other() {
        let (status, described) = ask("GET", "/api/v1/openapi.json", TOKEN, "").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(described["openapi"], "3.1.0");
        let mut there: Vec<&str> = routes().into_iter().map(|(path, _)| path).collect();
        let paths = described["paths"].as_object().unwrap();
        let mut said: Vec<&str> = paths.keys().map(String::as_str).collect();
        there.sort_unstable();
        said.sort_unstable();
        assert_eq!(there, said);
        for path in there {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let (status, _) = ask(method, path, TOKEN, "").await;
                let taken = status != StatusCode::METHOD_NOT_ALLOWED;
                let operation = &paths[path][method.to_lowercase()];
                assert_eq!(taken, operation.is_object(), "{method} {path}");
                if taken {
                    let answers = operation["responses"].as_object().unwrap();
                    assert!(answers.keys().any(|code| code.starts_with('2')), "{method} {path}");
                    let open = operation["security"].as_array().is_some_and(Vec::is_empty);
                    assert_eq!(open, path == HEALTH, "{path}");
                }
            }
        }
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut references = 0;
        for part in OPENAPI.split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(described.pointer(pointer).is_some(), "{pointer}");
            references += 1;
        }
        assert!(references > 10);
    }
}
