//! What policies may know of a client's certificate.
//!
//! Values come from whoever had the certificate signed, so they are taken with care: at most
//! [`CERTIFICATE_VALUES_MAX`] per attribute are kept, and [`CertificateValue::substitution`] gives
//! nothing for a value that could be mistaken for a pattern. Contract `policies.md` §4.

/// Values of one attribute that count; later ones are as if absent.
pub const CERTIFICATE_VALUES_MAX: usize = 5;

/// Characters of a value that is substituted, at most; a longer one resolves nothing.
pub const SUBSTITUTED_CHARACTERS_MAX: usize = 1024;

/// Characters that keep a value from being substituted.
const NOT_SUBSTITUTED: &[char] = &['*', '$', '+', '?', '#'];

/// Characters that policies write with a leading backslash.
const ESCAPED: &[char] = &[',', '"', '\\', '+', '=', '<', '>', ';'];

/// Whose name an attribute belongs to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Party {
    /// Who holds the certificate.
    Subject,
    /// Who signed it.
    Issuer,
}

macro_rules! attributes {
    ($($(#[$doc:meta])* $attribute:ident = $name:literal;)*) => {
        /// A part of a distinguished name, or a kind of alternative name.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[expect(missing_docs, reason = "X.509's names")]
        pub enum CertificateAttribute { $($attribute,)* }

        impl CertificateAttribute {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$attribute,)*];

            /// As it stands in a variable, behind `iot:Certificate.Subject.`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$attribute => $name,)* }
            }
        }
    };
}

attributes! {
    DistinguishedNameQualifier = "DistinguishedNameQualifier";
    Country = "Country";
    Organization = "Organization";
    OrganizationalUnit = "OrganizationalUnit";
    State = "State";
    CommonName = "CommonName";
    SerialNumber = "SerialNumber";
    Title = "Title";
    Surname = "Surname";
    GivenName = "GivenName";
    Initials = "Initials";
    Pseudonym = "Pseudonym";
    GenerationQualifier = "GenerationQualifier";
    Rfc822Name = "AlternativeName.RFC822Name";
    DnsName = "AlternativeName.DNSName";
    DirectoryName = "AlternativeName.DirectoryName";
    UniformResourceIdentifier = "AlternativeName.UniformResourceIdentifier";
    IpAddress = "AlternativeName.IPAddress";
}

/// One value of a certificate, and how conditions and resources see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CertificateValue {
    text: Box<str>,
    /// With its backslashes, where that differs.
    escaped: Option<Box<str>>,
}

impl CertificateValue {
    fn new(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for character in text.chars() {
            if ESCAPED.contains(&character) {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        let escaped = (escaped != text).then(|| escaped.into());
        Self { text: text.into(), escaped }
    }

    /// As conditions see it: `,` `"` `\` `+` `=` `<` `>` `;` have a leading backslash.
    pub(super) fn condition(&self) -> &str {
        self.escaped.as_deref().unwrap_or(&self.text)
    }

    /// As variables see it; `None` where the contract does not substitute.
    pub(super) fn substitution(&self) -> Option<&str> {
        let is_short = self.text.chars().nth(SUBSTITUTED_CHARACTERS_MAX).is_none();
        (is_short && !self.text.contains(NOT_SUBSTITUTED)).then_some(&*self.text)
    }
}

/// A certificate as policies see it. Made once per connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    id: CertificateValue,
    serial_number: Option<CertificateValue>,
    /// Ascending, each once, none empty.
    attributes: Vec<((Party, CertificateAttribute), Vec<CertificateValue>)>,
    /// Names of the variables above that have a value.
    available: Vec<String>,
}

impl Certificate {
    /// The certificate with this id, 64 hexadecimal digits.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let available = vec!["iot:Certificate.CertificateId".to_owned()];
        let id = CertificateValue::new(id);
        Self { id, serial_number: None, attributes: Vec::new(), available }
    }

    /// The certificate's own serial number.
    #[must_use]
    pub fn with_serial_number(mut self, serial_number: &str) -> Self {
        if self.serial_number.replace(CertificateValue::new(serial_number)).is_none() {
            self.available.push("iot:Certificate.SerialNumber".to_owned());
        }
        self
    }

    /// One more value of an attribute, in the certificate's order.
    ///
    /// An empty value is none. Those past [`CERTIFICATE_VALUES_MAX`] are not kept.
    #[must_use]
    pub fn with(mut self, party: Party, attribute: CertificateAttribute, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        let key = (party, attribute);
        match self.attributes.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => {
                if let Some((_, values)) = self.attributes.get_mut(at)
                    && values.len() < CERTIFICATE_VALUES_MAX
                {
                    values.push(CertificateValue::new(value));
                }
            }
            Err(at) => {
                self.attributes.insert(at, (key, vec![CertificateValue::new(value)]));
                let name = attribute.name();
                self.available.push(format!("iot:Certificate.{party:?}.{name}"));
            }
        }
        self
    }

    pub(super) fn id(&self) -> &CertificateValue {
        &self.id
    }

    pub(super) fn serial_number(&self) -> Option<&CertificateValue> {
        self.serial_number.as_ref()
    }

    pub(super) fn available(&self) -> &[String] {
        &self.available
    }

    /// The values of an attribute, at most [`CERTIFICATE_VALUES_MAX`].
    pub(super) fn values(
        &self,
        party: Party,
        attribute: CertificateAttribute,
    ) -> &[CertificateValue] {
        let key = (party, attribute);
        let found = self.attributes.binary_search_by_key(&key, |(key, _)| *key);
        found.ok().and_then(|at| self.attributes.get(at)).map_or(&[], |(_, values)| values)
    }
}
