//! Files of scenarios: titles, directives, and the lines to play for each variant.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use bitts_broker::Profile;

use super::line;

/// Words that vary over the runs of a scenario: a name and one of its values.
pub(super) type Choice = (String, String);

/// One scenario of a file.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// The file it stands in.
    pub file: String,
    /// Line of its title.
    pub line: usize,
    /// One sentence of behaviour.
    pub title: String,
    /// Why it fails as things stand; it must, until somebody removes the line.
    pub expect_fail: Option<String>,
    /// Limits of the core that it needs, by name.
    pub limits: Vec<(String, u64)>,
    /// Whose rules it asks for, before its words that vary have values.
    profile: Option<String>,
    each: Vec<(String, Vec<String>)>,
    lines: Vec<(usize, String)>,
}

/// A scenario with a value for each of its words that vary.
#[derive(Clone, Debug, Default)]
pub struct Variant {
    /// The values chosen.
    pub choices: Vec<Choice>,
    /// Whose rules it asks for; without a word the standard's.
    pub profile: Profile,
    /// The lines to play, by their number in the file.
    pub lines: Vec<(usize, String)>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScriptError {
    /// The file.
    pub file: String,
    /// The line.
    pub line: usize,
    /// What was expected.
    pub problem: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

impl std::error::Error for ScriptError {}

/// Reads the scenarios of a file.
pub fn parse(file: &str, text: &str) -> Result<Vec<Scenario>, ScriptError> {
    let mut found: Vec<Scenario> = Vec::new();
    for (at, raw) in text.lines().enumerate() {
        let number = at + 1;
        let error = |problem: String| ScriptError { file: file.to_owned(), line: number, problem };
        let raw = raw.trim();
        if raw.is_empty() || raw.starts_with('#') {
            continue;
        }
        if let Some(title) = raw.strip_prefix("scenario ") {
            let (file, title) = (file.to_owned(), title.to_owned());
            found.push(Scenario { file, line: number, title, ..Scenario::default() });
            continue;
        }
        let Some(scenario) = found.last_mut() else {
            return Err(error("a line before the first `scenario TITLE`".to_owned()));
        };
        directive(scenario, number, raw).map_err(error)?;
    }
    for scenario in &found {
        for variant in scenario.variants() {
            scenario.profile(&variant.choices).map_err(|problem| ScriptError {
                file: file.to_owned(),
                line: scenario.line,
                problem,
            })?;
            for (number, text) in &variant.lines {
                line::check(text).map_err(|problem| ScriptError {
                    file: file.to_owned(),
                    line: *number,
                    problem,
                })?;
            }
        }
    }
    Ok(found)
}

fn directive(scenario: &mut Scenario, number: usize, raw: &str) -> Result<(), String> {
    if let Some(reason) = raw.strip_prefix("expect-fail ") {
        scenario.expect_fail = Some(reason.to_owned());
    } else if let Some(each) = raw.strip_prefix("each ") {
        let (name, values) = each.split_once('=').ok_or("each NAME = VALUE VALUE …")?;
        let values = values.split_whitespace().map(str::to_owned).collect();
        scenario.each.push((name.trim().to_owned(), values));
    } else if let Some(limit) = raw.strip_prefix("limit ") {
        let (name, value) = limit.split_once('=').ok_or("limit NAME = NUMBER")?;
        let value = value.trim().parse().map_err(|_| "limit NAME = NUMBER")?;
        scenario.limits.push((name.trim().to_owned(), value));
    } else if let Some(profile) = raw.strip_prefix("profile ") {
        scenario.profile = Some(profile.trim().to_owned());
    } else {
        scenario.lines.push((number, raw.to_owned()));
    }
    Ok(())
}

impl Scenario {
    /// Every combination of the words that vary.
    #[must_use]
    pub fn variants(&self) -> Vec<Variant> {
        let mut combinations: Vec<Vec<Choice>> = vec![Vec::new()];
        for (name, values) in &self.each {
            combinations = combinations
                .into_iter()
                .flat_map(|chosen| {
                    values.iter().map(move |value| {
                        let mut chosen = chosen.clone();
                        chosen.push((name.clone(), value.clone()));
                        chosen
                    })
                })
                .collect();
        }
        combinations.into_iter().map(|choices| self.variant(choices)).collect()
    }

    fn variant(&self, choices: Vec<Choice>) -> Variant {
        let lines = self.lines.iter().filter_map(|(number, text)| {
            let mut text = text.as_str();
            // `when v5: …` is for the variants that chose it; several must all hold.
            while let Some((value, rest)) =
                text.strip_prefix("when ").and_then(|rest| rest.split_once(": "))
            {
                let is_chosen = value
                    .split('|')
                    .any(|wanted| choices.iter().any(|(_, chosen)| chosen == wanted.trim()));
                if !is_chosen {
                    return None;
                }
                text = rest;
            }
            Some((*number, choose(text, &choices)))
        });
        let lines = lines.collect();
        Variant { lines, profile: self.profile(&choices).unwrap_or_default(), choices }
    }

    /// Whose rules a run with these choices asks for.
    fn profile(&self, choices: &[Choice]) -> Result<Profile, String> {
        let asked = self.profile.as_deref().map(|profile| choose(profile, choices));
        match asked.as_deref() {
            None | Some("open") => Ok(Profile::Open),
            Some("aws") => Ok(Profile::Aws),
            Some(other) => Err(format!("profile `{other}`: open or aws is expected")),
        }
    }
}

/// Puts the chosen values in the place of their names.
fn choose(text: &str, choices: &[Choice]) -> String {
    let put = |text: String, (name, value): &Choice| text.replace(&format!("{{{name}}}"), value);
    choices.iter().fold(text.to_owned(), put)
}

/// Reads every `.scn` file below a directory, in the order of their names.
pub fn load(directory: &Path) -> io::Result<Vec<Scenario>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            found.extend(load(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "scn") {
            let text = fs::read_to_string(&path)?;
            let scenarios = parse(&path.display().to_string(), &text);
            found.extend(scenarios.map_err(|error| io::Error::other(error.to_string()))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_runs_once_for_each_combination() {
        let text = "scenario One\neach v = v3 v5\neach q = 0 1\na > CONNECT {v} client=x\n\
                    when v5: a | closed\n";
        let found = parse("f", text).unwrap();
        let variants = found[0].variants();
        assert_eq!(variants.len(), 4);
        assert_eq!(variants[0].lines, [(4, "a > CONNECT v3 client=x".to_owned())]);
        assert_eq!(variants[3].lines.len(), 2);
    }

    #[test]
    fn a_profile_may_vary() {
        let text = "scenario One\neach p = open aws\nprofile {p}\na > PINGREQ\n";
        let variants = parse("f", text).unwrap()[0].variants();
        let profiles: Vec<Profile> = variants.iter().map(|variant| variant.profile).collect();
        assert_eq!(profiles, [Profile::Open, Profile::Aws]);
        assert_eq!(parse("f", "scenario One\nprofile own\n").unwrap_err().line, 1);
    }

    #[test]
    fn errors_name_their_line() {
        let error = parse("f", "scenario One\na > CONNECT v9\n").unwrap_err();
        assert_eq!((error.line, error.file.as_str()), (2, "f"));
        assert_eq!(parse("f", "a > PINGREQ").unwrap_err().line, 1);
    }
}
