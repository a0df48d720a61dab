//! `cni check`: the parts of an installation, each from the runtime's side: its programs are run, its configuration is read as a
//! runtime reads it, and the last word is the plugin's own answer to STATUS.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use protocol::client::{Client, DEFAULT_ADMIN_SOCKET};
use serde_json::{Map, Value};

use crate::cli::cni::CheckArgs;
use crate::error::CliError;
use crate::output;

/// The plugins, which both have to be there.
const PROGRAMS: [&str; 2] = [PLUGIN, "vpod-ipam"];
const PLUGIN: &str = "vpod-cni";
/// What a runtime takes for a configuration (`libcni`, `ConfFiles`).
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];
/// What STATUS came with; it is asked for whatever the configuration has.
const STATUS_VERSION: &str = "1.1.0";

/// What is wrong, and what to do about it.
struct Failure {
    what: String,
    remedy: String,
}

type Outcome = Result<String, Failure>;

fn failure(what: impl Into<String>, remedy: impl Into<String>) -> Failure {
    Failure { what: what.into(), remedy: remedy.into() }
}

pub(crate) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let mut outcomes: Vec<Outcome> = PROGRAMS.iter().map(|name| program(&args.bin_dir.join(name))).collect();
    let plugin = match configuration(&args.conf_dir) {
        Ok((text, plugin)) => {
            outcomes.push(Ok(text));
            Some(plugin)
        }
        Err(failure) => {
            outcomes.push(Err(failure));
            None
        }
    };
    outcomes.push(daemon(&socket_of(plugin.as_ref())));
    if let Some(plugin) = plugin {
        outcomes.push(status(&args.bin_dir.join(PLUGIN), &args.bin_dir, &plugin));
    }
    let mut text = String::new();
    for outcome in &outcomes {
        text.push_str(&match outcome {
            Ok(what) => format!("ok      {what}\n"),
            Err(Failure { what, remedy }) => format!("failed  {what}\n        {remedy}\n"),
        });
    }
    output::print(&text)?;
    if outcomes.iter().all(Result::is_ok) { Ok(()) } else { Err(CliError::Reported) }
}

/// There, executable, of this version.
fn program(path: &Path) -> Outcome {
    let shown = path.display();
    let install = "install it: make install";
    let metadata = fs::metadata(path).map_err(|e| failure(format!("program {shown}: {e}"), install))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(failure(
            format!("program {shown} is not executable"),
            format!("make it so: chmod 0755 {shown}"),
        ));
    }
    let about = call(path, &[], "").map_err(|e| failure(format!("program {shown}: {e}"), install))?;
    let own = env!("CARGO_PKG_VERSION");
    let said = String::from_utf8_lossy(&about.stderr);
    match said.lines().next().and_then(|line| line.rsplit(' ').next()) {
        Some(version) if about.status.success() && version == own => {
            Ok(format!("program {shown}, version {version}"))
        }
        Some(version) if about.status.success() => {
            Err(failure(format!("program {shown} is of version {version}, vpodctl of {own}"), install))
        }
        Some(_) | None => Err(failure(format!("program {shown} does not say what it is"), install)),
    }
}

/// The first file is the one that runtimes take; its plugin with the network's name and version, as a runtime would call it.
fn configuration(directory: &Path) -> Result<(String, Map<String, Value>), Failure> {
    let install = "install it: make install, or see docs/cni.md";
    let path = first_of(directory)
        .map_err(|e| failure(format!("configurations in {}: {e}", directory.display()), install))?;
    let Some(path) = path else {
        return Err(failure(format!("there is no configuration in {}", directory.display()), install));
    };
    let shown = path.display();
    let wrong = |why: String| failure(format!("configuration {shown}: {why}"), "correct it; see docs/cni.md");
    let text = fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
    let mut list: Map<String, Value> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let name = list.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
    let name = name.ok_or_else(|| wrong("it has no name".to_owned()))?;
    if !list.get("cniVersion").is_some_and(Value::is_string) {
        return Err(wrong("it has no cniVersion".to_owned()));
    }
    let plugins = match list.remove("plugins") {
        Some(Value::Array(plugins)) => plugins,
        Some(_) => return Err(wrong("plugins is no list".to_owned())),
        // One plugin alone.
        None => vec![Value::Object(list)],
    };
    let is_ours = |plugin: &Value| plugin.get("type").and_then(Value::as_str) == Some(PLUGIN);
    let Some(at) = plugins.iter().position(is_ours) else {
        return Err(failure(
            format!("configuration {shown} comes first in {}, and is not vpod's", directory.display()),
            "runtimes take the first by name: rename or remove it",
        ));
    };
    let Some(Value::Object(mut plugin)) = plugins.into_iter().nth(at) else {
        return Err(wrong("its plugin is no object".to_owned()));
    };
    if at != 0 {
        return Err(wrong(format!(
            "{PLUGIN} makes the interface, so it has to come first among its plugins"
        )));
    }
    plugin.insert("name".to_owned(), Value::from(name.as_str()));
    plugin.insert("cniVersion".to_owned(), Value::from(STATUS_VERSION));
    Ok((format!("configuration {shown}, network {name}"), plugin))
}

fn first_of(directory: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_one = path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension));
        if is_one {
            paths.push(path);
        }
    }
    Ok(paths.into_iter().min())
}

fn socket_of(plugin: Option<&Map<String, Value>>) -> PathBuf {
    let configured = plugin.and_then(|plugin| plugin.get("socket")).and_then(Value::as_str);
    PathBuf::from(configured.unwrap_or(DEFAULT_ADMIN_SOCKET))
}

fn daemon(socket: &Path) -> Outcome {
    match Client::connect(socket) {
        Ok(_) => Ok(format!("daemon at {}", socket.display())),
        Err(error) => {
            Err(failure(error.to_string(), "start vswitchd, or correct \"socket\" of the configuration"))
        }
    }
}

/// What a runtime is told.
fn status(program: &Path, bin_dir: &Path, plugin: &Map<String, Value>) -> Outcome {
    let directory = bin_dir.display().to_string();
    let variables = [("CNI_COMMAND", "STATUS"), ("CNI_PATH", directory.as_str())];
    let input = Value::Object(plugin.clone()).to_string();
    let remedy = "vpodctl status shows the daemon's problems";
    let output = call(program, &variables, &input).map_err(|e| failure(format!("STATUS: {e}"), remedy))?;
    if output.status.success() {
        return Ok("a pod would be given its network (STATUS)".to_owned());
    }
    let error: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let (code, message) = (&error["code"], error["msg"].as_str().unwrap_or("it does not say why"));
    Err(failure(format!("a pod would not be given its network: {message} (STATUS, code {code})"), remedy))
}

/// Runs a plugin with these variables and no others.
fn call(program: &Path, variables: &[(&str, &str)], input: &str) -> std::io::Result<Output> {
    let mut child = Command::new(program)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who is refused for its variables has not read it.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}
