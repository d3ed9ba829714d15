//! Who we are to the data plane, and where AWS's tools keep that: environment variables, then the
//! shared files.
//!
//! Roles, single sign-on, credential processes and instance metadata are not read; a profile that
//! has nothing else is refused by name.

mod profile;

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use self::profile::{Profile, Profiles};

/// An access key.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The key's public half.
    pub access_key_id: String,
    /// The key's secret half.
    pub secret_access_key: String,
    /// What temporary credentials come with.
    pub session_token: Option<String>,
}

/// The secret and the token stay out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.access_key_id)
    }
}

/// Why what the environment and the files say cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A profile was named that neither file has.
    #[error("no profile {0:?} in the shared AWS files")]
    NoSuchProfile(String),
    /// A profile gets its credentials in a way that is not read.
    #[error("profile {profile:?} uses {key}, which is not supported: give it an access key")]
    Unsupported {
        /// Which profile.
        profile: String,
        /// Its setting.
        key: &'static str,
    },
    /// One half of an access key.
    #[error("{0} has an access key without its other half")]
    HalfAKey(String),
    /// A file that is there and cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file with a line that is no section, setting or comment.
    #[error("{}:{line}: neither [section], key = value nor comment", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

/// What AWS's tools are told outside of their command line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// Where the data plane is, if that was said.
    pub endpoint_url: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key.
    pub credentials: Option<Credentials>,
    /// A file of trusted certificates in PEM, `AWS_CA_BUNDLE` or `ca_bundle`.
    pub ca_bundle: Option<PathBuf>,
}

/// The service's name in `AWS_ENDPOINT_URL_…`.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_IOT_DATA_PLANE", "AWS_ENDPOINT_URL"];

/// What a profile may have instead of an access key.
const UNSUPPORTED: [&str; 6] = [
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
    "login_session",
];

impl Settings {
    /// Reads the process's environment and the shared files.
    ///
    /// `profile` is what the user named; its access key wins over the environment's, as in the AWS
    /// CLI. Without it `AWS_PROFILE` names it, else it is `default`.
    pub fn read(profile: Option<&str>) -> Result<Self, SettingsError> {
        let variable = |name: &str| std::env::var(name).ok();
        Self::from(&variable, std::env::home_dir(), profile)
    }

    fn from(
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
        named: Option<&str>,
    ) -> Result<Self, SettingsError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = |name: &str, default: &str| {
            let path = variable(name).map(PathBuf::from);
            path.or_else(|| home.as_ref().map(|home| home.join(".aws").join(default)))
        };
        let profiles = Profiles::read(
            file("AWS_CONFIG_FILE", "config"),
            file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        )?;
        let from_variable = variable("AWS_PROFILE").or_else(|| variable("AWS_DEFAULT_PROFILE"));
        let asked = named.map(ToOwned::to_owned).or(from_variable);
        let name = asked.as_deref().unwrap_or("default");
        let profile = match (profiles.profile(name), &asked) {
            (Some(profile), _) => profile,
            (None, None) => Profile::default(),
            (None, Some(_)) => return Err(SettingsError::NoSuchProfile(name.to_owned())),
        };
        let from_environment = if named.is_some() { None } else { environment_key(&variable)? };
        let credentials = match from_environment {
            Some(credentials) => Some(credentials),
            None => profile_key(name, &profile)?,
        };
        let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let endpoint_url = || {
            let variables = ENDPOINT_VARIABLES.into_iter().find_map(variable);
            variables.or_else(|| profiles.endpoint_url(&profile))
        };
        Ok(Self {
            endpoint_url: if ignored { None } else { endpoint_url() },
            region: variable("AWS_REGION")
                .or_else(|| variable("AWS_DEFAULT_REGION"))
                .or_else(|| profile.get("region")),
            credentials,
            ca_bundle: variable("AWS_CA_BUNDLE")
                .or_else(|| profile.get("ca_bundle"))
                .map(PathBuf::from),
        })
    }
}

/// An access key from its two halves; none from neither.
fn key(
    place: &str,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
) -> Result<Option<Credentials>, SettingsError> {
    match (access_key_id, secret_access_key) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Some(Credentials { access_key_id, secret_access_key, session_token }))
        }
        (None, None) => Ok(None),
        _ => Err(SettingsError::HalfAKey(place.to_owned())),
    }
}

fn environment_key(
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Credentials>, SettingsError> {
    key(
        "the environment",
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
        variable("AWS_SESSION_TOKEN").or_else(|| variable("AWS_SECURITY_TOKEN")),
    )
}

fn profile_key(name: &str, profile: &Profile) -> Result<Option<Credentials>, SettingsError> {
    let found = key(
        &format!("profile {name:?}"),
        profile.get("aws_access_key_id"),
        profile.get("aws_secret_access_key"),
        profile.get("aws_session_token"),
    )?;
    let unsupported = UNSUPPORTED.into_iter().find(|key| profile.get(key).is_some());
    match (found, unsupported) {
        (None, Some(key)) => Err(SettingsError::Unsupported { profile: name.to_owned(), key }),
        (found, _) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CONFIG: &str = "
[default]
region = eu-west-1
[profile dev]
region=eu-central-1
services = local
aws_access_key_id = CONFIG
aws_secret_access_key = config-secret
[profile role]
role_arn = arn:aws:iam::1:role/x
[services local]
iot_data_plane =
  endpoint_url = http://127.0.0.1:1
s3 =
  endpoint_url = http://127.0.0.1:2
[profile plain]
endpoint_url = http://127.0.0.1:3
";
    const CREDENTIALS: &str = "
# keys
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key = a=b/c+d  
[dev]
aws_access_key_id = DEV
aws_secret_access_key = dev-secret
aws_session_token = token
[half]
aws_access_key_id = HALF
";

    fn read(variables: &[(&str, &str)], named: Option<&str>) -> Result<Settings, SettingsError> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config"), CONFIG).unwrap();
        std::fs::write(folder.join("credentials"), CREDENTIALS).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::from(&variable, Some(home.path().to_owned()), named)
    }

    fn key_id(settings: &Settings) -> Option<&str> {
        settings.credentials.as_ref().map(|key| key.access_key_id.as_str())
    }

    #[test]
    fn the_default_profile_comes_from_both_files() {
        let settings = read(&[], None).unwrap();
        assert_eq!(settings.region.as_deref(), Some("eu-west-1"));
        let credentials = settings.credentials.unwrap();
        assert_eq!(credentials.secret_access_key, "a=b/c+d");
        assert_eq!(credentials.session_token, None);
        assert_eq!(settings.endpoint_url, None);
    }

    #[test]
    fn the_environment_wins_over_files_but_not_over_a_named_profile() {
        let key = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let with_profile = [key[0], key[1], ("AWS_PROFILE", "dev")];
        assert_eq!(key_id(&read(&key, None).unwrap()), Some("ENV"));
        assert_eq!(key_id(&read(&with_profile, None).unwrap()), Some("ENV"));
        assert_eq!(key_id(&read(&with_profile[2..], None).unwrap()), Some("DEV"));
        assert_eq!(key_id(&read(&key, Some("dev")).unwrap()), Some("DEV"));
    }

    #[test]
    fn the_credentials_file_wins_over_the_config_file() {
        let settings = read(&[], Some("dev")).unwrap();
        let credentials = settings.credentials.unwrap();
        assert_eq!(credentials.access_key_id, "DEV");
        assert_eq!(credentials.session_token.as_deref(), Some("token"));
    }

    #[test]
    fn an_endpoint_is_found_in_the_order_of_the_tools() {
        let url = |variables: &[(&str, &str)], named| read(variables, named).unwrap().endpoint_url;
        let all =
            [("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_IOT_DATA_PLANE", "http://b")];
        assert_eq!(url(&all, Some("dev")).as_deref(), Some("http://b"));
        assert_eq!(url(&all[..1], Some("dev")).as_deref(), Some("http://a"));
        assert_eq!(url(&[], Some("dev")).as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(url(&[], Some("plain")).as_deref(), Some("http://127.0.0.1:3"));
        let ignored = [all[0], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
        assert_eq!(url(&ignored, None), None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = |named| read(&[], Some(named)).unwrap_err();
        assert!(matches!(error("none"), SettingsError::NoSuchProfile(name) if name == "none"));
        assert!(matches!(error("role"), SettingsError::Unsupported { key: "role_arn", .. }));
        assert!(matches!(error("half"), SettingsError::HalfAKey(_)));
        let half = read(&[("AWS_ACCESS_KEY_ID", "x")], None);
        assert!(matches!(half, Err(SettingsError::HalfAKey(_))));
    }

    #[test]
    fn missing_files_are_empty() {
        let nothing = |_: &str| None;
        let home = Some(Path::new("/does/not/exist").to_owned());
        assert_eq!(Settings::from(&nothing, home, None).unwrap(), Settings::default());
        assert_eq!(Settings::from(&nothing, None, None).unwrap(), Settings::default());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", read(&[], Some("dev")).unwrap());
        assert!(shown.contains("DEV") && !shown.contains("dev-secret") && !shown.contains("token"));
    }
}
