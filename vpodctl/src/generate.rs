//! What is generated from the command line's definition: completion, man pages, `docs/cli.md`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;
use crate::cli::args::{CompletionArgs, ManArgs};
use crate::error::CliError;
use crate::output;

pub(crate) fn completion(args: &CompletionArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vpodctl", &mut script);
    output::print_bytes(&script)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), CliError> {
    if args.markdown {
        return output::print(&markdown());
    }
    if let Some(dir) = &args.dir {
        let failed = |source: io::Error| CliError::File { path: dir.clone(), source };
        return write_pages(dir).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(CliError::Stdout)?;
    output::print_bytes(&page)
}

fn write_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

/// All long help texts as one Markdown document.
fn markdown() -> String {
    let mut text = "# vpodctl\n\nGenerated from the command line's definition by \
                    `vpodctl man --markdown`; a test keeps it so.\n"
        .to_owned();
    let mut root = Cli::command();
    root.build();
    section(&mut text, &root, "vpodctl");
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        section(&mut text, command, &format!("vpodctl {}", command.get_name()));
    }
    text
}

fn section(text: &mut String, command: &Command, title: &str) {
    let mut command = command.clone().term_width(100);
    if command.get_name() != "vpodctl" {
        // Said once, in the first section.
        command = command.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    }
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(text, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_reference_is_what_the_definition_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "docs/cli.md is stale; write it again: cargo run -p vpodctl -- man --markdown > docs/cli.md"
        );
    }
}
