//! Numbers of record types, classes and response codes that are looked at here (IANA "Domain Name System Parameters").

/// Record types.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Pointer.
    pub const PTR: u16 = 12;
    /// Host information; what a question for everything is answered with (RFC 8482).
    pub const HINFO: u16 = 13;
    /// Mail exchange.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// Service binding.
    pub const HTTPS: u16 = 65;
    /// Incremental transfer.
    pub const IXFR: u16 = 251;
    /// Transfer of a zone.
    pub const AXFR: u16 = 252;
    /// Everything.
    pub const ANY: u16 = 255;
}

/// The Internet; the only class answered.
pub const CLASS_IN: u16 = 1;

/// Response codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rcode(pub u16);

impl Rcode {
    /// The answer is what was asked for, or there is no record of the type.
    pub const NO_ERROR: Self = Self(0);
    /// The query could not be read.
    pub const FORMAT_ERROR: Self = Self(1);
    /// No answer now.
    pub const SERVER_FAILURE: Self = Self(2);
    /// There is no such name.
    pub const NAME_ERROR: Self = Self(3);
    /// Not a query.
    pub const NOT_IMPLEMENTED: Self = Self(4);
    /// Will not be answered.
    pub const REFUSED: Self = Self(5);
    /// A later EDNS than ours.
    pub const BAD_VERSION: Self = Self(16);

    /// As tools and CoreDNS's metrics write it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            16 => "BADVERS",
            _ => "other",
        }
    }
}

/// A type as text, for logs.
#[must_use]
pub fn label(kind: u16) -> String {
    hickory_proto::rr::RecordType::from(kind).to_string()
}
