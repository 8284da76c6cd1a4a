//! The API over HTTP: the same methods as over a socket, without events and streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::handshake::asks_for_socket;
use super::hub::Hub;
use super::session::{self, Connection, identify};
use super::units::{Fault, invoke, public};

const COOKIE: &str = "token";

pub(super) fn router(hub: &Arc<Hub>) -> Router<Arc<Hub>> {
    Router::new()
        .route("/api", get(introspect).post(packet))
        .route("/api/{unit}/{method}", get(socket).post(call))
        .route_layer(from_fn_with_state(Arc::clone(hub), origin))
}

/// Lets pages of other origins in, or not: a page can send a request anywhere, so it is refused before it acts.
async fn origin(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    hub.service.counts.http_requests.fetch_add(1, Ordering::Relaxed);
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    // Sockets carry no cookies that would count, and say who they are themselves.
    if asks_for_socket(&request) || is_own(&origin, request.headers()) {
        return next.run(request).await;
    }
    let listed = |allowed: &String| allowed.as_bytes() == origin.as_bytes();
    let any = hub.options.allow_origins.iter().any(|allowed| allowed == "*");
    if !any && !hub.options.allow_origins.iter().any(listed) {
        hub.service.counts.http_refused.fetch_add(1, Ordering::Relaxed);
        let text = "pages of this origin may not use the API; start the service with --allow-origin\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let wildcard = HeaderValue::from_static("*");
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        if any { wildcard } else { origin },
    );
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !any {
        let yes = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    response
}

/// True for a page of this service: the origin's host is the one that was asked, whatever the scheme before a proxy.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, origin))) if origin.eq_ignore_ascii_case(host))
}

async fn socket(
    state: State<Arc<Hub>>,
    parameters: Query<session::Parameters>,
    request: Request,
) -> Response {
    if asks_for_socket(&request) {
        return session::upgrade(state, parameters, request).await;
    }
    let headers = [(header::ALLOW, "POST")];
    (
        StatusCode::METHOD_NOT_ALLOWED,
        headers,
        "call methods with POST\n",
    )
        .into_response()
}

async fn introspect(
    state: State<Arc<Hub>>,
    parameters: Query<session::Parameters>,
    request: Request,
) -> Response {
    if asks_for_socket(&request) {
        return session::upgrade(state, parameters, request).await;
    }
    Json(state.service.registry.introspect(None)).into_response()
}

/// `POST /api/unit/method` with an array of arguments, or an object of them.
async fn call(
    State(hub): State<Arc<Hub>>,
    Path((unit, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let arguments = match read(&hub, body).await {
        Ok(bytes) if bytes.is_empty() => Ok(Value::Null),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Fault::new(400, format!("body: give a JSON array of arguments: {error}"))),
        Err(fault) => return failed(&hub, fault),
    };
    let target = format!("{unit}/{method}");
    let (outcome, cookie) = run(&hub, &headers, &target, arguments).await;
    match public(outcome) {
        (0, value) => answer(0, value, cookie),
        (status, error) => answer(status, error_of(status, &error), cookie),
    }
}

/// A packet of Metacom as it is sent over a socket.
#[derive(Deserialize)]
struct Packet {
    #[serde(rename = "type")]
    kind: String,
    id: Value,
    method: String,
    #[serde(default)]
    args: Value,
    meta: Option<Value>,
}

/// `POST /api` with a packet of Metacom, answered by one.
async fn packet(State(hub): State<Arc<Hub>>, headers: HeaderMap, body: Body) -> Response {
    let bytes = match read(&hub, body).await {
        Ok(bytes) => bytes,
        Err(fault) => return failed(&hub, fault),
    };
    let packet = serde_json::from_slice::<Packet>(&bytes).map_err(|error| error.to_string());
    let packet = packet.and_then(|packet| match (packet.kind.as_str(), &packet.id) {
        ("call", Value::Number(_) | Value::String(_)) => Ok(packet),
        _ => Err("type must be call, and id a number or a text".to_owned()),
    });
    let packet = match packet {
        Ok(packet) => packet,
        Err(error) => {
            let text = format!("body: give {{type: \"call\", id, method, args}}: {error}");
            return failed(&hub, Fault::new(400, text));
        }
    };
    let (outcome, cookie) = run(&hub, &headers, &packet.method, Ok(packet.args)).await;
    let (status, value) = public(outcome);
    let mut callback = match status {
        0 => json!({"type": "callback", "id": packet.id, "result": value}),
        _ => json!({"type": "callback", "id": packet.id, "error": failure(status, &value)}),
    };
    if let (Some(meta), Some(fields)) = (packet.meta, callback.as_object_mut()) {
        fields.insert("meta".to_owned(), meta);
    }
    answer(status, callback, cookie)
}

/// The body, bounded in size and time.
async fn read(hub: &Hub, body: Body) -> Result<Bytes, Fault> {
    let limits = &hub.options.limits;
    let body = tokio::time::timeout(limits.body_within, to_bytes(body, limits.body_bytes_max));
    match body.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let text = format!("body: at most {} bytes", limits.body_bytes_max);
            Err(Fault::new(413, text))
        }
        Err(_) => Err(Fault::new(408, "body: not here in time")),
    }
}

/// Runs a call as whoever the cookie or the bearer token says. With the outcome comes the cookie to set.
async fn run(
    hub: &Arc<Hub>,
    headers: &HeaderMap,
    target: &str,
    arguments: Result<Value, Fault>,
) -> (Result<Value, Fault>, Option<String>) {
    let shown = cookie(headers);
    let (who, _) = match identify(hub, shown, session::shown(headers)).await {
        Ok(known) => known,
        Err(error) => {
            let status = session::status(&error).as_u16();
            return (Err(Fault::new(status, error.to_string())), None);
        }
    };
    let (connection, _) = Connection::new(hub, who, false);
    let connection = Arc::new(connection);
    let outcome = invoke(Arc::clone(hub), Arc::clone(&connection), target, arguments).await;
    // Only whoever asks for a session gets one.
    let token = connection.who().token;
    let asked = target.starts_with("auth/") && outcome.is_ok() && shown != Some(&token);
    let secure = headers
        .get("x-forwarded-proto")
        .is_some_and(|scheme| scheme == "https");
    let secure = if secure { "; Secure" } else { "" };
    let set = asked.then(|| format!("{COOKIE}={token}; Path=/api; HttpOnly; SameSite=Strict{secure}"));
    (outcome, set)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE);
    cookies
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// `{"code", "message"}`, as Metacom has it.
fn failure(status: u16, error: &Value) -> Value {
    json!({"code": status, "message": error.get("error")})
}

fn error_of(status: u16, error: &Value) -> Value {
    json!({"error": failure(status, error)})
}

fn failed(hub: &Hub, fault: Fault) -> Response {
    hub.service.counts.http_refused.fetch_add(1, Ordering::Relaxed);
    let (status, error) = public(Err(fault));
    answer(status, error_of(status, &error), None)
}

fn answer(status: u16, value: Value, cookie: Option<String>) -> Response {
    let status = match status {
        0 => StatusCode::OK,
        status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut response = (status, Json(value)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}
