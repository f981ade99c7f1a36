//! Header fields: what may be passed on.

/// Header fields in order, with their spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(super) Vec<(String, Vec<u8>)>);

/// Fields that concern one connection only (RFC 9110, 7.6.1), apart from those
/// that begin with `Proxy-`.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Fields that frame or route a message: a client must not have them removed by
/// listing them in `Connection`.
const FRAMING: [&str; 4] = ["host", "content-length", "transfer-encoding", "authorization"];

impl Headers {
    /// Every value of a field.
    pub(crate) fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> + 'h {
        self.0
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The elements of a comma-separated field, in lower case.
    pub(crate) fn tokens(&self, name: &str) -> Vec<String> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
            .filter(|token| !token.is_empty())
            .collect()
    }

    /// Whether `Connection` tries to remove a field that frames or routes.
    pub(super) fn connection_lists_framing(&self) -> bool {
        self.tokens("connection").iter().any(|token| FRAMING.contains(&token.as_str()))
    }

    /// What is passed on to the next hop: everything that does not concern this
    /// connection alone.
    pub(super) fn end_to_end(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        let listed = self.tokens("connection");
        self.0.iter().filter(move |(name, _)| {
            let name = name.to_ascii_lowercase();
            !HOP_BY_HOP.contains(&name.as_str())
                && !name.starts_with("proxy-")
                && !listed.contains(&name)
        })
    }
}

/// Appends one field.
pub(super) fn put(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
