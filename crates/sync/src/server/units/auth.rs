//! `auth`: who a session is.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};
use crate::server::authentication::TOKEN_BYTES_MAX;
use crate::server::session::{Key, is_token};

pub(super) struct Auth;

impl Unit for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new("signin", &["token"]).public(),
            Method::new("restore", &["token"]).public(),
        ];
        METHODS
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            match method {
                "signin" => sign_in(caller, &arguments).await,
                _ => restore(caller, &arguments),
            }
        })
    }
}

/// With a token of whom the keys are: that identity. Without one: an anonymous session, which `restore` takes up again.
async fn sign_in(caller: &Caller, arguments: &Arguments) -> Result<Value, Fault> {
    if arguments.get("token").is_some_and(|token| !token.is_null()) {
        caller.sign_in(arguments.text("token", TOKEN_BYTES_MAX)?).await?;
    } else if caller.hub.options.authentication.required {
        return Err(Fault::new(400, "token: give a JSON Web Token"));
    }
    Ok(session(caller))
}

/// Takes up a session by its own token.
fn restore(caller: &Caller, arguments: &Arguments) -> Result<Value, Fault> {
    let token = arguments.text("token", TOKEN_BYTES_MAX)?;
    if !is_token(token) {
        let text = "token: give the `token` that `auth/signin` or the greeting gave";
        return Err(Fault::new(400, text));
    }
    let restored = caller.hub.service.ledger.knows(Key::of(token));
    caller.connection.become_session(token);
    let mut answer = session(caller);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("restored".to_owned(), json!(restored));
    }
    Ok(answer)
}

fn session(caller: &Caller) -> Value {
    let who = caller.connection.who();
    caller.hub.service.ledger.keep(who.key);
    let subject = caller.identity().map(|identity| identity.subject.clone());
    json!({"token": who.token, "writer": who.key.writer(), "subject": subject})
}
