//! Where the journal is sent as well: a syslog server (RFC 5424), by TLS (RFC 5425) unless chosen
//! otherwise.

use serde::{Deserialize, Serialize};

use super::name;

/// The port of syslog over TLS (RFC 5425).
pub const TLS_PORT: u16 = 6514;
/// How much text certificates may have, in octets.
pub const AUTHORITIES_MAX: usize = 24 * 1024;
/// Where the authorities lie that certificates are judged by, when the settings name some.
pub const AUTHORITIES: &str = "etc/rsyslog-authorities.pem";

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TLS (RFC 5425): nobody reads along, and the server proves who it is.
    #[default]
    Tls,
    /// TCP in clear (RFC 6587, counted octets).
    Tcp,
    /// UDP in clear (RFC 5426).
    Udp,
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// Its name or address.
    pub server: String,
    /// Its port.
    #[serde(default = "tls_port")]
    pub port: u16,
    /// How messages travel.
    #[serde(default)]
    pub transport: Transport,
    /// The name in its certificate, where that is another than `server`, as for an address.
    #[serde(default)]
    pub certificate_name: String,
    /// The authorities that may have issued its certificate (PEM); empty: those of the system.
    #[serde(default)]
    pub authorities: String,
}

fn tls_port() -> u16 {
    TLS_PORT
}

impl Syslog {
    /// What the server's certificate must name.
    fn named(&self) -> &str {
        match self.certificate_name.as_str() {
            "" => &self.server,
            name => name,
        }
    }

    /// Whether it can be used; else the field and what was expected.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let at = |field| move |expected| (field, expected);
        name::server(&self.server).map_err(at("syslog.server"))?;
        if self.port == 0 {
            return Err(("syslog.port", "a number from 1 to 65535".into()));
        }
        if !self.certificate_name.is_empty() {
            name::domain(&self.certificate_name).map_err(at("syslog.certificate_name"))?;
        }
        let address = self.named().parse::<std::net::IpAddr>().is_ok();
        if self.transport == Transport::Tls && address {
            let expected = "the name in the server's certificate, as it is reached by an address";
            return Err(("syslog.certificate_name", expected.into()));
        }
        let pem = self.authorities.trim();
        let begins = pem.starts_with("-----BEGIN CERTIFICATE-----");
        let plain = |c: char| c.is_ascii_graphic() || matches!(c, ' ' | '\n' | '\r');
        if !pem.is_empty() && (!begins || !pem.chars().all(plain) || pem.len() > AUTHORITIES_MAX) {
            let expected = format!("certificates as PEM, at most {AUTHORITIES_MAX} octets");
            return Err(("syslog.authorities", expected));
        }
        Ok(())
    }

    /// The configuration of rsyslog. What could not be sent waits in the journal and, for a while,
    /// in a bounded queue.
    pub fn to_rsyslog(&self) -> String {
        let Self {
            server,
            port,
            transport,
            ..
        } = self;
        let way = match transport {
            Transport::Udp => "protocol=\"udp\"".to_owned(),
            Transport::Tcp => "protocol=\"tcp\" TCP_Framing=\"octet-counted\"".to_owned(),
            Transport::Tls => {
                let named = self.named();
                let authorities = match self.authorities.trim() {
                    "" => "/etc/ssl/certs/ca-certificates.crt".to_owned(),
                    _ => format!("/{AUTHORITIES}"),
                };
                format!(
                    "protocol=\"tcp\" TCP_Framing=\"octet-counted\" StreamDriver=\"ossl\" \
                     StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" \
                     StreamDriverPermittedPeers=\"{named}\" StreamDriver.CAFile=\"{authorities}\""
                )
            }
        };
        format!(
            "global(workDirectory=\"/var/lib/rsyslog\" maxMessageSize=\"16k\")\n\
             module(load=\"imjournal\" StateFile=\"journal\" FileCreateMode=\"0600\" \
             IgnorePreviousMessages=\"on\" \
             PersistStateInterval=\"100\" Ratelimit.Interval=\"0\")\n\
             action(type=\"omfwd\" target=\"{server}\" port=\"{port}\" {way} \
             template=\"RSYSLOG_SyslogProtocol23Format\" queue.type=\"LinkedList\" \
             queue.size=\"2000\" queue.filename=\"syslog\" queue.maxDiskSpace=\"8m\" \
             queue.saveOnShutdown=\"on\" action.resumeRetryCount=\"-1\" \
             action.resumeInterval=\"10\")\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Syslog {
        toml::from_str(text).expect("readable")
    }

    #[test]
    fn tls_to_its_own_port_is_what_a_name_alone_means() {
        let syslog = server("server = 'logs.example.org'");
        assert_eq!(syslog.check(), Ok(()));
        let text = syslog.to_rsyslog();
        for part in [
            "target=\"logs.example.org\" port=\"6514\"",
            "StreamDriverAuthMode=\"x509/name\"",
            "StreamDriverPermittedPeers=\"logs.example.org\"",
            "TCP_Framing=\"octet-counted\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let clear = server("server = '192.0.2.5'\nport = 514\ntransport = 'udp'");
        assert_eq!(clear.check(), Ok(()));
        assert!(
            clear.to_rsyslog().contains("protocol=\"udp\"") && !clear.to_rsyslog().contains("ossl")
        );
    }

    #[test]
    fn what_would_not_prove_the_server_or_would_leave_its_line_is_refused() {
        let cases = [
            ("server = 'a b'", "syslog.server"),
            ("server = 'a\"b'", "syslog.server"),
            ("server = ''", "syslog.server"),
            ("server = 'logs'\nport = 0", "syslog.port"),
            ("server = '192.0.2.5'", "syslog.certificate_name"),
            (
                "server = '192.0.2.5'\ncertificate_name = 'a\"'",
                "syslog.certificate_name",
            ),
            (
                "server = 'logs'\nauthorities = 'no PEM'",
                "syslog.authorities",
            ),
        ];
        for (text, field) in cases {
            let found = server(text).check();
            assert_eq!(found.map_err(|(field, _)| field), Err(field), "{text}");
        }
    }
}
