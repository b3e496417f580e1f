//! Servers to connect to: the configured ones, and those that a cluster names.

use rand::seq::SliceRandom;
use url::{Host, Url};

const PORT: u16 = 4222;
/// Most servers that are kept of a cluster's list.
const DISCOVERED_MAX: usize = 64;

/// Address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// True for a `tls://` URL.
    pub is_tls: bool,
    /// Name that the server's certificate must be for. A cluster names its servers by IP address,
    /// for which certificates are often not made out.
    pub tls_name: String,
}

/// An address that is no server's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not the address of a NATS server, such as nats://host:4222")]
pub struct AddressError;

impl Address {
    /// Parses `nats://host:port`, `tls://host:port` or `host:port`; the port may be left out.
    ///
    /// # Errors
    /// Fails for anything else.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("nats://{text}")),
        };
        let url = url.map_err(|_| AddressError)?;
        if !["nats", "tls"].contains(&url.scheme()) {
            return Err(AddressError);
        }
        let host = match url.host().ok_or(AddressError)? {
            // `url` takes the hosts of unknown schemes as names.
            Host::Domain("") => return Err(AddressError),
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self {
            tls_name: host.clone(),
            host,
            port: url.port().unwrap_or(PORT),
            is_tls: url.scheme() == "tls",
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// All servers, and the failed attempts at each.
#[derive(Debug)]
pub struct Pool {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    address: Address,
    is_discovered: bool,
    /// Attempts that failed since the last one that did not.
    failures: u32,
    /// It shuts down, and is the last choice until it was connected to again.
    is_leaving: bool,
}

impl Pool {
    /// Creates a pool of the configured servers.
    pub fn new(addresses: Vec<Address>) -> Self {
        let servers = addresses.into_iter().map(|address| Server {
            address,
            is_discovered: false,
            failures: 0,
            is_leaving: false,
        });
        Self {
            servers: servers.collect(),
        }
    }

    /// Returns all servers in the order to try them: those with fewer failures first, equal ones
    /// in random order, so that the clients of a lost server spread over the others.
    pub fn order(&self) -> Vec<Address> {
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        servers.shuffle(&mut rand::rng());
        servers.sort_by_key(|server| (server.is_leaving, server.failures));
        let addresses = servers.into_iter().map(|server| server.address.clone());
        addresses.collect()
    }

    /// Notes a failed attempt.
    pub fn failed(&mut self, address: &Address) {
        if let Some(server) = self.find(address) {
            server.failures = server.failures.saturating_add(1);
        }
    }

    /// Notes a connection.
    pub fn connected(&mut self, address: &Address) {
        if let Some(server) = self.find(address) {
            (server.failures, server.is_leaving) = (0, false);
        }
    }

    /// Notes that a server shuts down.
    pub fn leaving(&mut self, address: &Address) {
        if let Some(server) = self.find(address) {
            server.is_leaving = true;
        }
    }

    /// Replaces the servers that were discovered by those that `from` names now. An empty list is
    /// that of a server without a cluster, and changes nothing.
    pub fn discovered(&mut self, urls: &[String], from: &Address) {
        let named = urls.iter().filter_map(|url| Address::parse(url).ok());
        let named: Vec<Address> = named.take(DISCOVERED_MAX).collect();
        if named.is_empty() {
            return;
        }
        self.servers.retain(|server| {
            let is_named = named.iter().any(|one| one.is_same(&server.address));
            !server.is_discovered || is_named || server.address.is_same(from)
        });
        for mut address in named {
            if self.find(&address).is_some() {
                continue;
            }
            if address.host.parse::<std::net::IpAddr>().is_ok() {
                address.tls_name.clone_from(&from.tls_name);
            }
            address.is_tls |= from.is_tls;
            self.servers.push(Server {
                address,
                is_discovered: true,
                failures: 0,
                is_leaving: false,
            });
        }
    }

    fn find(&mut self, address: &Address) -> Option<&mut Server> {
        let mut servers = self.servers.iter_mut();
        servers.find(|server| server.address.is_same(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_a_url_or_a_host_with_or_without_a_port() {
        for (text, shown, is_tls) in [
            ("nats://h", "h:4222", false),
            (" tls://h:1/ ", "h:1", true),
            ("h:5", "h:5", false),
            ("10.0.0.1:4223", "10.0.0.1:4223", false),
            ("[::1]:4222", "[::1]:4222", false),
        ] {
            let address = address(text);
            assert_eq!(
                (address.to_string().as_str(), address.is_tls),
                (shown, is_tls)
            );
        }
        for text in ["", "ws://h", "nats://", "h:x"] {
            assert_eq!(Address::parse(text), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn servers_that_failed_or_leave_come_last() {
        let mut pool = Pool::new(vec![address("a"), address("b"), address("c")]);
        pool.failed(&address("a"));
        pool.leaving(&address("b"));
        assert_eq!(pool.order(), [address("c"), address("a"), address("b")]);
        pool.connected(&address("b"));
        assert_eq!(pool.order()[2], address("a"));
    }

    #[test]
    fn a_cluster_names_further_servers_and_forgets_them() {
        let mut pool = Pool::new(vec![address("tls://seed")]);
        let urls =
            |urls: &[&str]| -> Vec<String> { urls.iter().map(|one| (*one).into()).collect() };
        pool.discovered(
            &urls(&["10.0.0.1:4222", "seed:4222", "bad url"]),
            &address("tls://seed"),
        );
        let order = pool.order();
        assert_eq!(order.len(), 2);
        let named = order.iter().find(|one| one.host == "10.0.0.1").unwrap();
        assert_eq!((named.tls_name.as_str(), named.is_tls), ("seed", true));
        pool.discovered(&[], &address("seed"));
        assert_eq!(pool.order().len(), 2);
        pool.discovered(&urls(&["10.0.0.2:4222"]), &address("seed"));
        let hosts: Vec<String> = pool.order().into_iter().map(|one| one.host).collect();
        assert!(hosts.contains(&"10.0.0.2".into()) && !hosts.contains(&"10.0.0.1".into()));
        assert!(hosts.contains(&"seed".into()));
    }
}
