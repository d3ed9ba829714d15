//! The statements of a standard, as `spec/*.toml` lists them.
//!
//! The files use a small part of TOML: tables `[[statement]]` with strings on one line. Whatever
//! else they hold is refused, so that a slip of the pen does not hide a statement.

use std::path::Path;

/// A standard: its file, its name, and how citations of its statements begin.
pub(super) struct Standard {
    pub(super) file: String,
    pub(super) name: &'static str,
    pub(super) prefix: &'static str,
    pub(super) statements: Vec<Statement>,
}

/// One numbered statement.
#[derive(Debug)]
pub(super) struct Statement {
    /// What stands behind the prefix: `3.1.4-3`.
    pub(super) number: String,
    /// Line of its table in the file.
    pub(super) line: usize,
    pub(super) binds: Binds,
    pub(super) text: String,
    pub(super) not_applicable: Option<String>,
}

/// Whom a statement obliges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Binds {
    Client,
    Server,
    Both,
}

impl Binds {
    pub(super) fn server(self) -> bool {
        self != Self::Client
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "both",
        }
    }
}

/// Both standards, or the line that is wrong.
pub(super) fn read(root: &Path) -> Result<Vec<Standard>, String> {
    let read = |file: &str, name, prefix| {
        let toml = std::fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?;
        parse(file, name, prefix, &toml)
    };
    Ok(vec![
        read("spec/mqtt-5.0.toml", "MQTT 5.0", "MQTT-")?,
        read("spec/mqtt-3.1.1.toml", "MQTT 3.1.1", "MQTT3-")?,
    ])
}

/// The statements of one file; `Err` names the line.
pub(super) fn parse(
    file: &str,
    name: &'static str,
    prefix: &'static str,
    toml: &str,
) -> Result<Standard, String> {
    let mut statements = Vec::new();
    let mut table = Table::default();
    for (at, line) in toml.lines().enumerate() {
        let number = at + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[statement]]" {
            statements.extend(table.finish().map_err(|why| format!("{file}: {why}"))?);
            table = Table { line: number, ..Table::default() };
        } else {
            table.set(line).map_err(|why| format!("{file}:{number}: {why}"))?;
        }
    }
    statements.extend(table.finish().map_err(|why| format!("{file}: {why}"))?);
    let mut numbers: Vec<&str> = statements.iter().map(|s: &Statement| s.number.as_str()).collect();
    numbers.sort_unstable();
    let twice = numbers.iter().zip(numbers.iter().skip(1)).find(|(one, next)| one == next);
    if let Some((number, _)) = twice {
        return Err(format!("{file}: MQTT-{number} twice"));
    }
    Ok(Standard { file: file.to_owned(), name, prefix, statements })
}

/// A table while its lines are read; line 0 before the first.
#[derive(Default)]
struct Table {
    line: usize,
    id: Option<String>,
    binds: Option<Binds>,
    text: Option<String>,
    not_applicable: Option<String>,
}

impl Table {
    fn set(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once(" = ").ok_or("expected KEY = \"VALUE\"")?;
        let value = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|value| !value.contains(['"', '\\']))
            .ok_or("expected a string without escapes")?;
        let place = match key {
            "id" => &mut self.id,
            "text" => &mut self.text,
            "not_applicable" => &mut self.not_applicable,
            "binds" => {
                self.binds = Some(match value {
                    "client" => Binds::Client,
                    "server" => Binds::Server,
                    "both" => Binds::Both,
                    _ => return Err("binds client, server or both".to_owned()),
                });
                return Ok(());
            }
            _ => return Err(format!("unknown key {key}")),
        };
        *place = Some(value.to_owned());
        Ok(())
    }

    /// The statement, or nothing before the first table.
    fn finish(self) -> Result<Option<Statement>, String> {
        let Self { line, id, binds, text, not_applicable } = self;
        if line == 0 {
            return Ok(None);
        }
        let id = id.ok_or_else(|| format!("the statement at line {line} has no id"))?;
        let number =
            id.strip_prefix("MQTT-").ok_or_else(|| format!("{id} does not begin with MQTT-"))?;
        Ok(Some(Statement {
            number: number.to_owned(),
            line,
            binds: binds.ok_or_else(|| format!("{id} has no binds"))?,
            text: text.ok_or_else(|| format!("{id} has no text"))?,
            not_applicable,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(toml: &str) -> Result<Vec<Statement>, String> {
        parse("a.toml", "5.0", "MQTT-", toml).map(|standard| standard.statements)
    }

    const ONE: &str = "[[statement]]\nid = \"MQTT-3-8.3-4\"\nbinds = \"both\"\ntext = \"x\"\n";

    #[test]
    fn a_statement_has_a_number_whom_it_binds_and_a_text() {
        let statements = parsed(&format!("# comment\n\n{ONE}")).expect("one");
        let [one] = statements.as_slice() else { panic!("{statements:?}") };
        assert_eq!((one.number.as_str(), one.line, one.binds), ("3-8.3-4", 3, Binds::Both));
        assert_eq!((one.text.as_str(), &one.not_applicable), ("x", &None));
    }

    #[test]
    fn what_is_missing_twice_or_unknown_is_refused() {
        let wrong = |toml: &str| parsed(toml).expect_err("wrong");
        assert_eq!(wrong(&format!("{ONE}{ONE}")), "a.toml: MQTT-3-8.3-4 twice");
        assert_eq!(wrong(&ONE.replace("text = \"x\"\n", "")), "a.toml: MQTT-3-8.3-4 has no text");
        assert_eq!(
            wrong(&ONE.replace("\"both\"", "\"all\"")),
            "a.toml:3: binds client, server or both"
        );
        assert_eq!(wrong(&ONE.replace("text", "test")), "a.toml:4: unknown key test");
        assert_eq!(
            wrong(&ONE.replace("\"x\"", "'x'")),
            "a.toml:4: expected a string without escapes"
        );
    }
}
