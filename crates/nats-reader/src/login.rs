//! The login, and the `CONNECT` that has it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::Serialize;

use crate::error::DialError;

/// Login of a client. It has no `Debug`, since it is a secret.
pub enum Login {
    /// None, or by the client's certificate.
    None,
    /// A user with a password.
    User {
        /// Name of the user.
        user: String,
        /// Password of the user.
        password: String,
    },
    /// A token.
    Token(String),
    /// A key, which signs the server's nonce.
    NKey(KeyPair),
    /// A user's JWT, with the key that it is for.
    Jwt {
        /// Text of the JWT.
        jwt: String,
        /// Key of the user.
        key: KeyPair,
    },
}

/// A text is no `.creds` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it must have a user's JWT and the seed of an NKey, each between two lines of dashes")]
pub struct CredentialsError;

impl Login {
    /// Creates the login of an NKey's seed.
    ///
    /// # Errors
    /// Fails if it is no seed.
    pub fn of_seed(seed: &str) -> Result<Self, CredentialsError> {
        let key = KeyPair::from_seed(seed).map_err(|_| CredentialsError)?;
        Ok(Self::NKey(key))
    }

    /// Creates the login of a `.creds` file's text.
    ///
    /// # Errors
    /// Fails if it has no JWT or no seed.
    pub fn of_credentials(text: &str) -> Result<Self, CredentialsError> {
        let mut blocks = blocks(text);
        let (Some(jwt), Some(seed)) = (blocks.next(), blocks.next()) else {
            return Err(CredentialsError);
        };
        let jwt = jwt.to_owned();
        let key = KeyPair::from_seed(seed).map_err(|_| CredentialsError)?;
        Ok(Self::Jwt { jwt, key })
    }

    /// Encodes the `CONNECT` for a server that sent this nonce.
    ///
    /// # Errors
    /// Fails if the key cannot sign.
    pub fn connect(&self, name: &str, nonce: &str, is_tls: bool) -> Result<String, DialError> {
        let mut connect = Connect {
            name,
            tls_required: is_tls,
            ..Connect::default()
        };
        let sign = |key: &KeyPair| {
            let signed = key.sign(nonce.as_bytes()).map_err(DialError::Signature)?;
            Ok::<_, DialError>(Some(URL_SAFE_NO_PAD.encode(signed)))
        };
        match self {
            Self::None => {}
            Self::User { user, password } => {
                connect.user = Some(user);
                connect.pass = Some(password);
            }
            Self::Token(token) => connect.auth_token = Some(token),
            Self::NKey(key) => {
                connect.nkey = Some(key.public_key());
                connect.sig = sign(key)?;
            }
            Self::Jwt { jwt, key } => {
                connect.jwt = Some(jwt);
                connect.sig = sign(key)?;
            }
        }
        let json = serde_json::to_string(&connect).map_err(std::io::Error::from)?;
        Ok(format!("CONNECT {json}\r\n"))
    }
}

#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'a str,
    version: &'a str,
    /// 1: the server may send further `INFO`s.
    protocol: u8,
    echo: bool,
    headers: bool,
    no_responders: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Self {
            verbose: false,
            pedantic: false,
            tls_required: false,
            name: "",
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: true,
            headers: true,
            no_responders: true,
            user: None,
            pass: None,
            auth_token: None,
            nkey: None,
            sig: None,
            jwt: None,
        }
    }
}

/// Iterates over the lines that follow a line of dashes with a title, and precede another.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.lines().map(str::trim).peekable();
    std::iter::from_fn(move || {
        loop {
            let is_title = lines.next()?.starts_with("---");
            let content = *lines.peek()?;
            if is_title && !content.is_empty() && !content.starts_with('-') {
                lines.next();
                if lines.next()?.starts_with("---") {
                    return Some(content);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(login: &Login) -> serde_json::Value {
        let line = login.connect("me", "nonce", true).unwrap();
        let json = line.strip_prefix("CONNECT ").unwrap();
        serde_json::from_str(json.strip_suffix("\r\n").unwrap()).unwrap()
    }

    fn verify(key: &KeyPair, sent: &serde_json::Value) {
        let signature = URL_SAFE_NO_PAD
            .decode(sent["sig"].as_str().unwrap())
            .unwrap();
        key.verify(b"nonce", &signature).unwrap();
    }

    #[test]
    fn each_login_is_sent_by_its_own_fields() {
        let none = connect(&Login::None);
        assert_eq!(none["name"], "me");
        assert_eq!(none["tls_required"], true);
        for field in ["user", "pass", "auth_token", "nkey", "sig", "jwt"] {
            assert!(none.get(field).is_none(), "{field}");
        }
        let (user, password) = ("a\"b".to_owned(), "p\\w".to_owned());
        let user = connect(&Login::User { user, password });
        assert_eq!(
            (&user["user"], &user["pass"]),
            (&"a\"b".into(), &"p\\w".into())
        );
        assert_eq!(connect(&Login::Token("t".into()))["auth_token"], "t");
        let key = KeyPair::new_user();
        let sent = connect(&Login::of_seed(&key.seed().unwrap()).unwrap());
        assert_eq!(sent["nkey"], key.public_key());
        verify(&key, &sent);
    }

    #[test]
    fn a_creds_file_has_a_jwt_and_a_seed() {
        let key = KeyPair::new_user();
        let seed = key.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\r\neyJ0.e30.sig\r\n------END NATS USER JWT------\r\n\n\
             ************************* IMPORTANT *************************\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let sent = connect(&Login::of_credentials(&text).unwrap());
        assert_eq!(sent["jwt"], "eyJ0.e30.sig");
        assert!(sent.get("nkey").is_none());
        verify(&key, &sent);
        for text in ["", "eyJ0.e30.sig", &text[..80], &text.replace("SU", "XX")] {
            assert!(Login::of_credentials(text).is_err(), "{text}");
        }
        assert!(Login::of_seed("SUX").is_err());
    }
}
