//! Further users of a private ClickHouse. libchdb takes no users by SQL, so they go into its file.

use std::path::{Path, PathBuf};

use crate::nats::Options;
use crate::repository::repository;
use crate::setting;
use crate::stack::Stack;

/// The password of each.
pub const PASSWORD: &str = "profiles-only-7";

/// A user who may do everything in the database, unless `grants` says less.
#[derive(Default)]
pub struct User<'a> {
    pub name: &'a str,
    /// The contents of a profile, in XML.
    pub profile: &'a str,
    /// The filter of a row policy on the table of signals.
    pub filter: Option<&'a str>,
    pub grants: &'a [&'a str],
}

impl User<'_> {
    fn xml(&self) -> String {
        let filter = self.filter.map_or_else(String::new, |filter| {
            format!(
                "<databases><risksignal><raw_signals><filter>{filter}</filter></raw_signals>\
                 </risksignal></databases>"
            )
        });
        let all = ["GRANT ALL ON risksignal.*"];
        let grants = if self.grants.is_empty() {
            &all
        } else {
            self.grants
        };
        let grants: String = grants
            .iter()
            .map(|grant| format!("<query>{grant}</query>"))
            .collect();
        let name = self.name;
        format!(
            "<{name}><password>{PASSWORD}</password><networks><ip>::/0</ip></networks>\
             <profile>{name}</profile><quota>default</quota>{filter}<grants>{grants}</grants></{name}>"
        )
    }

    /// The settings of a daemon that is this user.
    pub fn login(&self) -> [(&str, &str); 2] {
        login(self.name)
    }
}

/// The settings of a daemon that is this user.
pub fn login(name: &str) -> [(&str, &str); 2] {
    [
        setting!(clickhouse.user = name),
        setting!(clickhouse.password = PASSWORD),
    ]
}

/// A NATS, and a ClickHouse with these users besides the usual ones.
pub async fn stack_with(users: &[User<'_>]) -> Stack {
    let folder = tempfile::tempdir().unwrap();
    let path = file(users, folder.path());
    let mut stack = Stack::with(Options::default(), &[format!("--users={}", path.display())]).await;
    stack.keep(folder);
    stack
}

/// Writes the file of these users and the usual ones into a folder, for ClickHouse's `--users`.
pub fn file(users: &[User<'_>], folder: &Path) -> PathBuf {
    let usual = repository("infra/clickhouse/users.d/risksignal.xml");
    let xml: String = users.iter().map(User::xml).collect();
    let profiles: String = users
        .iter()
        .map(|user| format!("<{0}>{1}</{0}>", user.name, user.profile))
        .collect();
    let text = std::fs::read_to_string(usual)
        .unwrap()
        .replace("<users>", &format!("<users>{xml}"))
        .replace("<profiles>", &format!("<profiles>{profiles}"));
    let path = folder.join("users.xml");
    std::fs::write(&path, text).unwrap();
    path
}
