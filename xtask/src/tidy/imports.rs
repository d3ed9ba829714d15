//! Who may import whom: the table of ARCHITECTURE.md, checked against `cargo metadata`.
//!
//! Dependencies of tests are free, except that nothing of ours leaves the direction of the arrows.

use std::path::Path;

use serde_json::Value;

use crate::steps::cargo;

/// What one crate may import.
struct Rule {
    name: &'static str,
    /// Our crates.
    ours: &'static [&'static str],
    /// Other crates: `Only` these, or all but these.
    others: Others,
}

enum Others {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// What no crate without sockets may import.
const MACHINE: &[&str] =
    &["tokio", "mio", "hyper", "hyper-util", "rustls", "tokio-rustls", "socket2", "async-nats"];

const RULES: &[Rule] = &[
    Rule { name: "bitts-mqtt", ours: &[], others: Others::Only(&["bytes"]) },
    Rule {
        name: "bitts-aws",
        ours: &[],
        others: Others::Only(&[
            "data-encoding",
            "hmac",
            "percent-encoding",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "thiserror",
        ]),
    },
    Rule {
        name: "bitts-broker",
        ours: &["bitts-mqtt", "bitts-aws"],
        others: Others::Only(&[
            "arc-swap",
            "bytes",
            "foldhash",
            "hashbrown",
            "siphasher",
            "slab",
            "smallvec",
            "tracing",
        ]),
    },
    Rule { name: "bitts-store", ours: &["bitts-broker"], others: Others::AllBut(MACHINE) },
    Rule {
        name: "bitts-server",
        ours: &["bitts-mqtt", "bitts-aws", "bitts-broker", "bitts-store"],
        others: Others::AllBut(&["redb"]),
    },
    Rule {
        name: "bitts-client",
        ours: &["bitts-mqtt", "bitts-aws"],
        others: Others::AllBut(&["mio", "redb"]),
    },
    Rule {
        name: "bitts",
        ours: &["bitts-server", "bitts-client"],
        others: Others::AllBut(&["hyper", "hyper-util", "mio", "redb", "rustls"]),
    },
    Rule {
        name: "bitts-sim",
        ours: &["bitts-mqtt", "bitts-aws", "bitts-broker", "bitts-store"],
        others: Others::AllBut(MACHINE),
    },
    Rule { name: "xtask", ours: &[], others: Others::Only(&["serde", "serde_json", "toml"]) },
];

pub(crate) fn check(root: &Path) -> Vec<String> {
    match metadata(root) {
        Ok(metadata) => findings(&metadata),
        Err(why) => vec![why],
    }
}

fn metadata(root: &Path) -> Result<Value, String> {
    let mut command = cargo(root);
    command.args(["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn findings(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in array(&metadata["packages"]) {
        let name = text(&package["name"]);
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            findings.push(format!("{name}: a crate that the table of imports does not know"));
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            // `kind` is null for what ships, "dev" or "build" for the rest.
            let ships = text(&dependency["kind"]) != "dev";
            let import = text(&dependency["name"]);
            if ships && !rule.allows(import, dependency["path"].is_string()) {
                findings.push(format!("{name}: must not import {import} (ARCHITECTURE.md)"));
            }
        }
    }
    findings
}

impl Rule {
    fn allows(&self, import: &str, ours: bool) -> bool {
        if ours {
            return self.ours.contains(&import);
        }
        match self.others {
            Others::Only(these) => these.contains(&import),
            Others::AllBut(these) => !these.contains(&import),
        }
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, import: &Value) -> Vec<String> {
        findings(&serde_json::json!({"packages": [{"name": name, "dependencies": [import]}]}))
    }

    #[test]
    fn an_edge_against_the_arrows_is_found() {
        let edge = serde_json::json!({"name": "bitts-server", "kind": null, "path": "x"});
        assert_eq!(package("bitts-broker", &edge).len(), 1);
        assert_eq!(package("bitts", &edge).len(), 0);
    }

    #[test]
    fn the_core_may_import_only_what_the_table_lists() {
        let ships = serde_json::json!({"name": "tokio", "kind": null});
        assert_eq!(package("bitts-broker", &ships).len(), 1);
        let tests = serde_json::json!({"name": "proptest", "kind": "dev"});
        assert_eq!(package("bitts-broker", &tests).len(), 0);
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_found() {
        let nothing = serde_json::json!({"name": "serde", "kind": null});
        assert_eq!(package("bitts-extra", &nothing).len(), 1);
    }
}
