//! `policy` and `label`, as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::args::{Document, NamespaceArg};
use super::kind::{KindArg, parse_kind};

/// `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyCommandArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say whether policies allow a connection, and which rule decides
    ///
    /// Asks the tables that the switch decides by. Of a service each ready endpoint is asked about. Exits with 1 if
    /// a policy denies it.
    Test(PolicyTestArgs),
    /// Say what policies would change, before they are applied
    ///
    /// Looks at the connections and flows that this node carries now, and at those that were refused lately. Nothing is
    /// changed. Exits with 1 if something would be cut.
    Audit(PolicyAuditArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl policy test --from client --to web:80
  vpodctl policy test --from shop/cart --to service/db -n prod
  vpodctl policy test --from 192.0.2.7 --to pod/dns:53 --protocol udp
  vpodctl policy test --from client --to 10.244.1.7 --protocol icmp -o json")]
pub(crate) struct PolicyTestArgs {
    /// Who asks: POD, NAMESPACE/POD or ADDRESS
    #[arg(long, value_name = "WHO")]
    pub(crate) from: String,
    /// Who is asked: POD:PORT, NAMESPACE/POD:PORT, ADDRESS:PORT, service/NAME or service/NAME:PORT
    #[arg(long, value_name = "WHOM")]
    pub(crate) to: String,
    /// tcp, udp, sctp, icmp or a number
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp", value_parser = parse_protocol)]
    pub(crate) protocol: u8,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// Print as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Document>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl policy audit -f deny-all.yaml
  vpodctl policy audit -f policies/ingress.yaml -f policies/egress.yaml -o json")]
pub(crate) struct PolicyAuditArgs {
    /// YAML or JSON with NetworkPolicies and ClusterNetworkPolicies; '-' is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// Print as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Document>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl label pod web tier=front
  vpodctl label pod web tier=back --overwrite
  vpodctl label namespace shop team=ops old-")]
pub(crate) struct LabelArgs {
    /// pod or namespace; KIND/NAME is understood as well
    #[arg(value_name = "KIND", value_parser = parse_kind)]
    pub(crate) kind: KindArg,
    /// Its name, then what is to become of its labels: KEY=VALUE or KEY-
    #[arg(value_name = "NAME KEY=VALUE|KEY-", required = true, num_args = 1.., allow_hyphen_values = false)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// A label that has another value may be changed
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// An IP protocol by name or number.
pub(crate) fn parse_protocol(text: &str) -> Result<u8, String> {
    let named = [("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1)];
    let found = named.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| number);
    found
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "write tcp, udp, sctp, icmp or a number up to 255".to_owned())
}
