//! From a request to a session: its dialect, who it is, and whether there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use pointsman_wire::{Codec, Dialect, Role, SUBPROTOCOL};
use serde::Deserialize;

use super::{Connection, Session, Who};
use crate::points;
use crate::server::authentication::{AuthenticationError, authenticate};
use crate::server::handshake::{accept, asks_for_socket, bounds, offers};
use crate::server::hub::Hub;

const TOKEN_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
pub(in crate::server) struct Parameters {
    token: Option<String>,
    access_token: Option<String>,
    points: Option<String>,
    calls: Option<i64>,
}

/// A handshake until it is greeted; counted as failed when it never is.
pub(super) struct Handshake(Arc<Hub>, bool);

impl Handshake {
    fn begin(hub: &Arc<Hub>) -> Self {
        hub.counts.handshakes.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(hub), false)
    }

    pub(super) fn greeted(mut self) {
        self.1 = true;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.counts.handshakes.fetch_sub(1, Ordering::Relaxed);
        if !self.1 {
            self.0.counts.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts the session until it is dropped, wherever its task ends.
struct Open {
    hub: Arc<Hub>,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hub.close_session(self.id);
    }
}

/// Tokens go into URLs as they are.
pub(in crate::server) fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The token of `Authorization: Bearer`.
pub(in crate::server) fn shown(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

/// Who comes with the token of a session, another token, or both; and whether that is a session taken up again. A token
/// that can be no session's is passed over; another one that is not good is refused, unless nobody here checks any.
pub(in crate::server) async fn identify(
    hub: &Hub,
    session: Option<&str>,
    access: Option<&str>,
) -> Result<(Who, bool), AuthenticationError> {
    // A JSON Web Token has dots, and the token of a session that we made has none.
    let (of_session, access) = match access.filter(|token| is_token(token) && !token.contains('.')) {
        Some(token) => (Some(token), None),
        None => (None, access),
    };
    let given = session.filter(|token| is_token(token)).or(of_session);
    let mut who = given.map_or_else(|| Who::stranger(hub), |token| Who::new(token.to_owned()));
    if let Some(access) = access {
        let identity = authenticate(hub.service.authenticator.as_ref(), access).await;
        who.identity = match identity {
            Ok(identity) => identity.map(Arc::new),
            Err(error) => {
                hub.service.counts.tokens_refused.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
        };
    }
    Ok((who, given.is_some()))
}

/// The answer to somebody whose token is not good.
fn refuse(error: &AuthenticationError) -> Response {
    (status(error), format!("{error}\n")).into_response()
}

pub(in crate::server) fn status(error: &AuthenticationError) -> StatusCode {
    match error {
        AuthenticationError::Refused(_) => StatusCode::UNAUTHORIZED,
        AuthenticationError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(in crate::server) async fn upgrade(
    State(hub): State<Arc<Hub>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let handshake = Handshake::begin(&hub);
    // Before anything else, so that a replica that is full does no more work for it.
    let Some((id, mut told)) = hub.open_session() else {
        let text = "no more sessions here; try again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let guard = Open {
        hub: Arc::clone(&hub),
        id,
    };
    let codec = if !asks_for_socket(&request) {
        let text = "this path is a WebSocket of version 13; the API over HTTP is at /api\n";
        let headers = [(header::SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::BAD_REQUEST, headers, text).into_response();
    } else if !request.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        Codec::metacom()
    } else if offers(&request, SUBPROTOCOL) {
        Codec::new(Dialect::Binary, Role::Server)
    } else {
        let text = format!("offer the subprotocol {SUBPROTOCOL}, or none for Metacom\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let access = shown(request.headers()).or(parameters.access_token.as_deref());
    let (who, resumed) = match identify(&hub, parameters.token.as_deref(), access).await {
        Ok(known) => known,
        Err(error) => return refuse(&error),
    };
    let points = parameters.points.as_deref().map(points::parse);
    // Only of a session that was somewhere before.
    let repeats_below = parameters.calls.filter(|_| resumed).unwrap_or(0);
    let ended = hub.ended.clone();
    let dialect = codec.dialect();
    let protocol = dialect.map(|_| SUBPROTOCOL);
    let config = bounds(dialect.unwrap_or(Dialect::MetacomInteger));
    accept(request, protocol, config, ended, move |socket| async move {
        let mut leftover = None;
        if let Some(socket) = socket {
            let (connection, last_call) = Connection::new(&guard.hub, who, true);
            connection.set_repeats_below(repeats_below);
            let mut session = Session::new(socket, codec, Arc::new(connection), Arc::clone(&guard.hub));
            (session.resumed, session.last_call) = (resumed, last_call);
            session.points = points;
            leftover = session.run(&mut told, handshake).await;
        }
        drop(guard);
        if let Some(leftover) = leftover {
            leftover.await;
        }
    })
}
