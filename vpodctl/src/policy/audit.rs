//! `policy audit`: what policies would change for the traffic that there is.

use protocol::message::{ReadRequest, Response};
use protocol::object::PolicyAudit;

use super::test::text;
use crate::cli::Target;
use crate::cli::args::{Document, Validation};
use crate::cli::policy::PolicyAuditArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::manifest::{self, Manifest};
use crate::output::{self, document};

pub(crate) fn run(target: &Target, args: &PolicyAuditArgs) -> Result<(), CliError> {
    let objects = manifest::read(&args.files, &args.namespace.namespace, Validation::Strict)?;
    let manifest = |object: manifest::Named| match object.manifest {
        // The daemon says which of them are no policies.
        Manifest::Service(value)
        | Manifest::EndpointSlice(value)
        | Manifest::Namespace(value)
        | Manifest::Object(_, value) => Ok(value.to_string()),
        Manifest::Pod(_) => Err(CliError::Usage(format!("pod {} is no policy", object.name))),
    };
    let manifests = objects.into_iter().map(manifest).collect::<Result<Vec<_>, _>>()?;
    let audit = match Connection::read(target)?.ask(ReadRequest::AuditPolicies { manifests })? {
        Response::PolicyAudit(audit) => audit,
        other => return Err(unexpected(&other)),
    };
    let value = || document::of_kind("PolicyAudit", &*audit);
    output::print(&match args.output {
        None => described(&audit),
        Some(Document::Json) => document::json(&value())?,
        Some(Document::Yaml) => document::yaml(&value())?,
    })?;
    if audit.cut.is_empty() { Ok(()) } else { Err(CliError::Reported) }
}

fn described(audit: &PolicyAudit) -> String {
    let PolicyAudit { flows, cut, opened, left_out } = audit;
    let mut all = format!(
        "{flows} flows of this node: {} would be cut. {} of those refused lately would be let through.\n",
        cut.len(),
        opened.len()
    );
    for (head, rows) in [("Cut:", cut), ("Let through:", opened)] {
        if !rows.is_empty() {
            all += &format!("\n{head}\n");
            all.extend(rows.iter().map(text));
        }
    }
    if *left_out > 0 {
        all += &format!("\nand {left_out} more\n");
    }
    all
}
