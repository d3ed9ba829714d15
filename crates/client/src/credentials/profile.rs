//! The shared AWS files: sections of settings, some with settings nested below them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::SettingsError;

/// Settings of a section; a nested one as `outer.inner`. Keys are in lower case.
type Section = HashMap<String, String>;

/// Settings of one profile, from both files.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile(Section);

impl Profile {
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).filter(|value| !value.is_empty()).cloned()
    }
}

/// Both files, by section.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    config: HashMap<String, Section>,
    credentials: HashMap<String, Section>,
}

impl Profiles {
    /// Reads both files; one that is not there is empty.
    pub(super) fn read(
        config: Option<PathBuf>,
        credentials: Option<PathBuf>,
    ) -> Result<Self, SettingsError> {
        let read =
            |path: Option<PathBuf>| path.map_or_else(|| Ok(HashMap::new()), |p| sections(&p));
        Ok(Self { config: read(config)?, credentials: read(credentials)? })
    }

    /// A profile; where both files say something, the credentials file counts.
    pub(super) fn profile(&self, name: &str) -> Option<Profile> {
        let prefixed = self.config.get(&format!("profile {name}"));
        let plain = if name == "default" { self.config.get(name) } else { None };
        let sections = [plain, prefixed, self.credentials.get(name)];
        let found: Vec<_> = sections.into_iter().flatten().collect();
        if found.is_empty() {
            return None;
        }
        let settings = found.into_iter().flatten();
        Some(Profile(settings.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }

    /// Where a profile's data plane is: by its `services` section, else by itself.
    pub(super) fn endpoint_url(&self, profile: &Profile) -> Option<String> {
        let services = profile.get("services").map(|name| format!("services {name}"));
        let section = services.and_then(|name| self.config.get(&name));
        let named = section.and_then(|section| section.get("iot_data_plane.endpoint_url")).cloned();
        named.or_else(|| profile.get("endpoint_url"))
    }
}

fn sections(path: &Path) -> Result<HashMap<String, Section>, SettingsError> {
    let text = match fs::read(path) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
    };
    parse(&text).map_err(|line| SettingsError::Syntax { path: path.to_owned(), line })
}

/// The sections of a file, or the number of the first line that is none of it.
fn parse(text: &str) -> Result<HashMap<String, Section>, usize> {
    let mut sections: HashMap<String, Section> = HashMap::new();
    let mut section = None;
    let mut outer = String::new();
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let (name, _) = rest.split_once(']').ok_or(index + 1)?;
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            outer.clear();
            section = Some(sections.entry(name.replace('"', "")).or_default());
            continue;
        }
        let settings = section.as_mut().ok_or(index + 1)?;
        let is_nested = raw.starts_with([' ', '\t']) && !outer.is_empty();
        match line.split_once('=') {
            Some((key, value)) => {
                let key = key.trim().to_ascii_lowercase();
                let full = if is_nested { format!("{outer}.{key}") } else { key.clone() };
                settings.insert(full, value_of(value).to_owned());
                if !is_nested {
                    outer = key;
                }
            }
            // A value that goes on; none that we use does.
            None if is_nested => {}
            None => return Err(index + 1),
        }
    }
    Ok(sections)
}

/// A value without the comment behind it: ` #` or ` ;`.
fn value_of(value: &str) -> &str {
    let comment = [" #", " ;", "\t#", "\t;"].into_iter().filter_map(|mark| value.find(mark)).min();
    value[..comment.unwrap_or(value.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_comments_and_nesting_are_told_apart() {
        let text = "; c\n[ profile  a ] # c\nKey = v#1 # c\ns3 =\n  max = 2\n\tmore\nlast=\n";
        let sections = parse(text).unwrap();
        let section = &sections["profile a"];
        assert_eq!(section["key"], "v#1");
        assert_eq!(section["s3.max"], "2");
        assert_eq!(section["last"], "");
        assert_eq!(section.len(), 4);
    }

    #[test]
    fn a_section_may_stand_twice() {
        let sections = parse("[a]\nx=1\n[b]\n[a]\ny=2\n").unwrap();
        assert_eq!(sections["a"].len(), 2);
    }

    #[test]
    fn other_lines_are_named_by_number() {
        assert_eq!(parse("x = 1\n"), Err(1));
        assert_eq!(parse("[a]\n\nword\n"), Err(3));
        assert_eq!(parse("[a\n"), Err(1));
    }

    #[test]
    fn an_empty_setting_is_none() {
        let profiles =
            Profiles { credentials: parse("[a]\nregion =\n").unwrap(), ..Profiles::default() };
        let profile = profiles.profile("a").unwrap();
        assert_eq!(profile.get("region"), None);
    }
}
