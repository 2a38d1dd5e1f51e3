//! Names become addresses here, once for each connection: a name of the world that leads into the house is refused, so that nobody
//! outside can point the host at its neighbours. The connection is made to the addresses that were looked at and to no others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use policy::pattern::Patterns;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name that leads where it may not.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` leads to {address}, {what}: {hint}")]
struct Misleading {
    name: String,
    address: IpAddr,
    what: &'static str,
    hint: String,
}

/// Looks names up, and at what comes back.
pub(super) struct Resolver {
    /// Names that may lead into the house.
    pub(super) private: Arc<Patterns>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            for address in &found {
                allowed(&host, address.ip(), &private)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether a name may lead to that address.
fn allowed(host: &str, address: IpAddr, private: &Patterns) -> Result<(), Misleading> {
    let refused = |what, hint: String| Err(Misleading { name: host.to_owned(), address, what, hint });
    match kind(address) {
        Kind::World => Ok(()),
        Kind::Never => refused("which no service has", "write another name, or the address itself, in its url".into()),
        // Names without a dot are the house's own: of this machine, of a container beside it.
        Kind::House if !host.contains('.') || private.covers(&host.to_lowercase()) => Ok(()),
        Kind::House => refused("which is in the house", format!("add \"{host}\" to `private` in [egress] if that is meant")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An address that everybody has in common.
    World,
    /// This machine and its neighbours.
    House,
    /// Link-local, where clouds keep their secrets; multicast; nothing.
    Never,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(four) => kind_of_four(four),
        IpAddr::V6(six) => inner(six).map_or_else(|| kind_of_six(six), kind_of_four),
    }
}

fn kind_of_four(four: Ipv4Addr) -> Kind {
    let [a, b, c, _] = four.octets();
    match (a, b, c) {
        _ if four.is_unspecified() || four.is_broadcast() || four.is_multicast() || four.is_link_local() => Kind::Never,
        (0, ..) | (240..=255, ..) => Kind::Never,
        _ if four.is_loopback() || four.is_private() => Kind::House,
        // Shared by carriers (RFC 6598), benchmarks (RFC 2544), documentation (RFC 5737), protocol assignments (RFC 6890).
        (100, 64..=127, _) | (198, 18..=19, _) | (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) => Kind::House,
        _ => Kind::World,
    }
}

fn kind_of_six(six: Ipv6Addr) -> Kind {
    let [first, second, ..] = six.segments();
    match first {
        _ if six.is_unspecified() || six.is_multicast() => Kind::Never,
        0xfe80..=0xfebf => Kind::Never,
        _ if six.is_loopback() => Kind::House,
        // Unique local (RFC 4193), site-local (RFC 3879), documentation (RFC 3849).
        0xfc00..=0xfdff | 0xfec0..=0xfeff => Kind::House,
        0x2001 if second == 0x0db8 => Kind::House,
        _ => Kind::World,
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 (RFC 6052, RFC 8215) and 6to4 (RFC 3056).
fn inner(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = six.segments();
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => {
            four(high, low)
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        [0x2002, high, low, ..] => four(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(host: &str, address: &str) -> bool {
        let private = Patterns::compile(&["*.lan".into(), "*.home.arpa".into()]).unwrap();
        allowed(host, address.parse().unwrap(), &private).is_ok()
    }

    #[test]
    fn a_name_of_the_world_does_not_lead_into_the_house() {
        for address in ["8.8.8.8", "2606:4700::1", "64:ff9b::808:808"] {
            assert!(may("api.example.com", address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "fd00::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "2002:a00:1::",
            "::10.0.0.1",
            "192.0.2.1",
        ] {
            assert!(!may("api.example.com", address), "{address}");
            assert!(may("nas.lan", address) && may("NAS.lan", address) && may("ollama", address), "{address}");
        }
        for address in
            ["169.254.169.254", "0.0.0.0", "::", "fe80::1", "224.0.0.1", "255.255.255.255", "::ffff:169.254.169.254", "ff02::1"]
        {
            assert!(!may("nas.lan", address) && !may("ollama", address) && !may("api.example.com", address), "{address}");
        }
    }

    #[test]
    fn a_refusal_names_the_line_to_add() {
        let none = Patterns::compile(&[]).unwrap();
        let said = allowed("rebound.example.com", "192.168.1.1".parse().unwrap(), &none).unwrap_err().to_string();
        assert_eq!(
            said,
            "`rebound.example.com` leads to 192.168.1.1, which is in the house: add \"rebound.example.com\" to `private` in [egress] if that is meant"
        );
    }
}
