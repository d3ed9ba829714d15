//! Rule 1 of ARCHITECTURE.md: time is an argument, and the core does no IO.
//!
//! clippy refuses most of this by type; here it is refused by name, in whatever form it is written.

use super::source::{Line, Source};

/// The crates without clocks, IO, threads, locks and randomness.
const CORE: [&str; 3] = ["mqtt", "aws", "broker"];

/// What must not be named there, and why.
const NEVER: [(&str, &str); 19] = [
    ("std::time::Instant", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("std::net", "no sockets; addresses are in core::net"),
    ("std::fs", "no files"),
    ("std::io", "no IO"),
    ("std::env", "settings are arguments"),
    ("std::process", "no processes"),
    ("std::thread", "no threads"),
    ("thread_local!", "no state beside the shard's"),
    ("Mutex", "no locks"),
    ("RwLock", "no locks"),
    ("Condvar", "the core cannot wait"),
    ("mpsc", "effects are values"),
    ("tokio::", "no runtime"),
    ("rand::", "randomness is an argument"),
    ("std::collections::HashMap", "its seed is random"),
    ("std::collections::HashSet", "its seed is random"),
    ("static mut", "no state beside the shard's"),
];

/// Ways to walk through all of a map. Changing or dropping values where they stand is none: it does
/// not depend on their order.
const WALKS: [&str; 7] =
    [".iter()", ".iter_mut()", ".keys()", ".values()", ".into_iter()", ".drain()", ".extract_if("];

pub(crate) fn check(source: &Source<'_>) -> Vec<String> {
    if !source.crate_name().is_some_and(|name| CORE.contains(&name)) {
        return Vec::new();
    }
    let maps: Vec<&str> = source.product().filter_map(map_name).collect();
    let mut findings = Vec::new();
    for line in source.product() {
        let code = line.code();
        for (name, why) in NEVER {
            if names(code, name) {
                findings.push(source.finding(line.number, &format!("{name} in the core: {why}")));
            }
        }
        for map in &maps {
            if walks(code, map) {
                let what = format!("walks through the hash map {map}: its order means nothing");
                findings.push(source.finding(line.number, &what));
            }
        }
    }
    findings
}

/// Whether `code` names `what`, and not something that merely ends with it (`operand::`).
fn names(code: &str, what: &str) -> bool {
    code.match_indices(what).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// `by_client` of `pub by_client: Map<…>`: a field or variable that is a hash map or set.
fn map_name(line: Line<'_>) -> Option<&str> {
    let (left, right) = line.code().split_once(": ")?;
    let kind = right.split('<').next()?.rsplit("::").next()?.trim();
    let name = left.rsplit([' ', '(']).next()?;
    ["Map", "HashMap", "HashSet"].contains(&kind).then_some(name)
}

fn walks(code: &str, map: &str) -> bool {
    let owned = |walk: &&str| names(code, &[map, walk].concat());
    let looped = code.contains(" in ") && {
        let end = code.trim_end().trim_end_matches('{').trim_end();
        end.ends_with(&[".", map].concat()) || end.ends_with(&["&", map].concat())
    };
    WALKS.iter().any(owned) || looped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(code: &str) -> usize {
        check(&Source::new("crates/broker/src/x.rs", code)).len()
    }

    #[test]
    fn a_clock_in_the_core_is_found_outside_comments_and_tests() {
        assert_eq!(findings("let now = Instant::now();\n"), 1);
        assert_eq!(findings("// not Instant::now()\n"), 0);
        assert_eq!(findings("#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), 0);
        assert_eq!(check(&Source::new("crates/server/src/x.rs", "use std::fs;\n")).len(), 0);
    }

    #[test]
    fn a_name_that_only_ends_like_a_forbidden_one_is_not_it() {
        assert_eq!(findings("use operand::Left;\n"), 0);
        assert_eq!(findings("use rand::Rng;\n"), 1);
    }

    #[test]
    fn a_walk_through_a_hash_map_is_found_and_a_look_up_is_not() {
        let field = "    by_client: Map<u32, u32>,\n";
        assert_eq!(findings(&format!("{field}self.by_client.values().sum()\n")), 1);
        assert_eq!(findings(&format!("{field}for (a, b) in &self.by_client {{\n")), 1);
        assert_eq!(findings(&format!("{field}self.by_client.get(&7)\n")), 0);
        assert_eq!(findings(&format!("{field}self.by_client.retain(keep)\n")), 0);
        assert_eq!(findings("    list: Vec<u32>,\nself.list.iter()\n"), 0);
    }
}
