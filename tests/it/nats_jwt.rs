//! A nats-server in operator mode, and a user's credentials for it: what `nsc` makes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// The text of a `.creds` file, and the server's configuration that accepts it.
pub fn operator_mode() -> (String, String) {
    let (operator, account, system, user) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    );
    let operator_jwt = signed(
        &operator,
        &operator,
        "operator",
        json!({ "type": "operator", "version": 2, "system_account": system.public_key() }),
    );
    // As in a NATS account without limits, -1 is none.
    let unlimited = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    });
    let account_jwt = signed(
        &operator,
        &account,
        "signals",
        json!({ "type": "account", "version": 2, "limits": unlimited }),
    );
    let system_jwt = signed(
        &operator,
        &system,
        "system",
        json!({ "type": "account", "version": 2 }),
    );
    let user_jwt = signed(
        &account,
        &user,
        "app",
        json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }),
    );
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    let config = format!(
        "operator: {operator_jwt}\nresolver: MEMORY\nsystem_account: {system}\n\
         resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}\n",
        account = account.public_key(),
        system = system.public_key(),
    );
    (creds, config)
}

fn signed(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": subject.public_key(), "iat": 1_760_000_000, "iss": issuer.public_key(),
        "name": name, "sub": subject.public_key(), "nats": nats,
    }));
    let body = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(body.as_bytes()).unwrap());
    format!("{body}.{signature}")
}
