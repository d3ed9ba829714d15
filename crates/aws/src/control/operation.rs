//! The operations of the control plane: method and path, what each does, and which permission it
//! asks for. One table, in the order of the API's parts.
//!
//! Paths are split before they are decoded, so `%2F` never separates. No path is also one of the
//! data plane's. Contract `control-plane-and-jobs.md` §2.

use serde_json::Value;

use super::input::{Input, decode};
use super::{
    Given, attachment, authority, authorization, authorizer, certificate, credential, group,
    policy, principal, tag, thing, thing_type,
};
use crate::control::ControlError;
use crate::policy::ResourceKind;
use crate::registry::{Draft, Registry};

/// The operation whose answer here is what its authorizer is to be asked.
pub const TEST_INVOKE: &str = "TestInvokeAuthorizer";

/// What an operation answers.
pub(super) type Answer = Result<Value, ControlError>;

/// What performs an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler {
    Read(fn(&Registry, &Input, &Given) -> Answer),
    Change(fn(&mut Draft, &Input, &Given) -> Answer),
}

/// What has to be made or read with cryptography before an operation can be performed: [`Given`]
/// carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Material {
    /// Nothing.
    None,
    /// A key pair and its certificate.
    Keys,
    /// A certificate for `certificateSigningRequest`.
    Csr,
    /// `certificatePem`, read, and who signed it.
    Certificate,
    /// `certificatePem`, read; nobody need have signed it.
    LoneCertificate,
    /// `caCertificate`, read, and `verificationCertificate`, checked.
    Authority,
    /// The secret of an access key, or the hash of `password`.
    Credential,
}

/// An operation of the control plane.
#[derive(Debug)]
pub struct Operation {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    service: &'static str,
    pub(super) handler: Handler,
    resource: Option<(ResourceKind, &'static str)>,
    material: Material,
}

impl Operation {
    /// AWS's name; ours for our own.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it needs beside its input.
    #[must_use]
    pub fn material(&self) -> Material {
        self.material
    }

    /// Whether it may change the registry.
    #[must_use]
    pub fn changes(&self) -> bool {
        matches!(self.handler, Handler::Change(_))
    }

    const fn on(mut self, kind: ResourceKind, label: &'static str) -> Self {
        self.resource = Some((kind, label));
        self
    }

    const fn with(mut self, material: Material) -> Self {
        self.material = material;
        self
    }

    const fn ours(mut self) -> Self {
        self.service = "bitts";
        self
    }
}

const fn read(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    handler: fn(&Registry, &Input, &Given) -> Answer,
) -> Operation {
    let (handler, material) = (Handler::Read(handler), Material::None);
    Operation { name, method, path, service: "iot", handler, resource: None, material }
}

const fn change(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    handler: fn(&mut Draft, &Input, &Given) -> Answer,
) -> Operation {
    let (handler, material) = (Handler::Change(handler), Material::None);
    Operation { name, method, path, service: "iot", handler, resource: None, material }
}

use ResourceKind as K;

static OPERATIONS: &[Operation] = &[
    read("DescribeEndpoint", "GET", "/endpoint", authorization::describe_endpoint),
    change("CreateThing", "POST", "/things/{thingName}", thing::create).on(K::Thing, "thingName"),
    read("DescribeThing", "GET", "/things/{thingName}", thing::describe).on(K::Thing, "thingName"),
    change("UpdateThing", "PATCH", "/things/{thingName}", thing::update).on(K::Thing, "thingName"),
    change("DeleteThing", "DELETE", "/things/{thingName}", thing::delete).on(K::Thing, "thingName"),
    read("ListThings", "GET", "/things", thing::list),
    change("CreateThingType", "POST", "/thing-types/{thingTypeName}", thing_type::create)
        .on(K::ThingType, "thingTypeName"),
    read("DescribeThingType", "GET", "/thing-types/{thingTypeName}", thing_type::describe)
        .on(K::ThingType, "thingTypeName"),
    change("UpdateThingType", "PATCH", "/thing-types/{thingTypeName}", thing_type::update)
        .on(K::ThingType, "thingTypeName"),
    change(
        "DeprecateThingType",
        "POST",
        "/thing-types/{thingTypeName}/deprecate",
        thing_type::deprecate,
    )
    .on(K::ThingType, "thingTypeName"),
    change("DeleteThingType", "DELETE", "/thing-types/{thingTypeName}", thing_type::delete)
        .on(K::ThingType, "thingTypeName"),
    read("ListThingTypes", "GET", "/thing-types", thing_type::list),
    change("AddThingToThingGroup", "PUT", "/thing-groups/addThingToThingGroup", group::add_thing),
    change(
        "RemoveThingFromThingGroup",
        "PUT",
        "/thing-groups/removeThingFromThingGroup",
        group::remove_thing,
    ),
    change(
        "UpdateThingGroupsForThing",
        "PUT",
        "/thing-groups/updateThingGroupsForThing",
        group::update_for_thing,
    ),
    change("CreateThingGroup", "POST", "/thing-groups/{thingGroupName}", group::create)
        .on(K::ThingGroup, "thingGroupName"),
    read("DescribeThingGroup", "GET", "/thing-groups/{thingGroupName}", group::describe)
        .on(K::ThingGroup, "thingGroupName"),
    change("UpdateThingGroup", "PATCH", "/thing-groups/{thingGroupName}", group::update)
        .on(K::ThingGroup, "thingGroupName"),
    change("DeleteThingGroup", "DELETE", "/thing-groups/{thingGroupName}", group::delete)
        .on(K::ThingGroup, "thingGroupName"),
    read("ListThingGroups", "GET", "/thing-groups", group::list),
    read(
        "ListThingsInThingGroup",
        "GET",
        "/thing-groups/{thingGroupName}/things",
        group::list_things,
    )
    .on(K::ThingGroup, "thingGroupName"),
    read(
        "ListThingGroupsForThing",
        "GET",
        "/things/{thingName}/thing-groups",
        group::list_for_thing,
    )
    .on(K::Thing, "thingName"),
    change("CreateKeysAndCertificate", "POST", "/keys-and-certificate", certificate::create)
        .with(Material::Keys),
    change("CreateCertificateFromCsr", "POST", "/certificates", certificate::create)
        .with(Material::Csr),
    change("RegisterCertificate", "POST", "/certificate/register", certificate::register)
        .with(Material::Certificate),
    change(
        "RegisterCertificateWithoutCA",
        "POST",
        "/certificate/register-no-ca",
        certificate::register,
    )
    .with(Material::LoneCertificate),
    read("DescribeCertificate", "GET", "/certificates/{certificateId}", certificate::describe)
        .on(K::Certificate, "certificateId"),
    change("UpdateCertificate", "PUT", "/certificates/{certificateId}", certificate::update)
        .on(K::Certificate, "certificateId"),
    change("DeleteCertificate", "DELETE", "/certificates/{certificateId}", certificate::delete)
        .on(K::Certificate, "certificateId"),
    read("ListCertificates", "GET", "/certificates", certificate::list),
    change("GetRegistrationCode", "GET", "/registrationcode", authority::registration_code),
    change(
        "DeleteRegistrationCode",
        "DELETE",
        "/registrationcode",
        authority::delete_registration_code,
    ),
    change("RegisterCACertificate", "POST", "/cacertificate", authority::register)
        .with(Material::Authority),
    read("DescribeCACertificate", "GET", "/cacertificate/{caCertificateId}", authority::describe)
        .on(K::CaCertificate, "caCertificateId"),
    change("UpdateCACertificate", "PUT", "/cacertificate/{caCertificateId}", authority::update)
        .on(K::CaCertificate, "caCertificateId"),
    change("DeleteCACertificate", "DELETE", "/cacertificate/{caCertificateId}", authority::delete)
        .on(K::CaCertificate, "caCertificateId"),
    read("ListCACertificates", "GET", "/cacertificates", authority::list),
    read(
        "ListCertificatesByCA",
        "GET",
        "/certificates-by-ca/{caCertificateId}",
        certificate::list_by_authority,
    ),
    change("CreatePolicy", "POST", "/policies/{policyName}", policy::create)
        .on(K::Policy, "policyName"),
    read("GetPolicy", "GET", "/policies/{policyName}", policy::describe)
        .on(K::Policy, "policyName"),
    change("DeletePolicy", "DELETE", "/policies/{policyName}", policy::delete)
        .on(K::Policy, "policyName"),
    read("ListPolicies", "GET", "/policies", policy::list),
    change("CreatePolicyVersion", "POST", "/policies/{policyName}/version", policy::create_version)
        .on(K::Policy, "policyName"),
    read("ListPolicyVersions", "GET", "/policies/{policyName}/version", policy::list_versions)
        .on(K::Policy, "policyName"),
    read(
        "GetPolicyVersion",
        "GET",
        "/policies/{policyName}/version/{policyVersionId}",
        policy::describe_version,
    )
    .on(K::Policy, "policyName"),
    change(
        "SetDefaultPolicyVersion",
        "PATCH",
        "/policies/{policyName}/version/{policyVersionId}",
        policy::set_default,
    )
    .on(K::Policy, "policyName"),
    change(
        "DeletePolicyVersion",
        "DELETE",
        "/policies/{policyName}/version/{policyVersionId}",
        policy::delete_version,
    )
    .on(K::Policy, "policyName"),
    change("AttachPolicy", "PUT", "/target-policies/{policyName}", attachment::attach),
    change("DetachPolicy", "POST", "/target-policies/{policyName}", attachment::detach),
    read("ListAttachedPolicies", "POST", "/attached-policies/{target}", attachment::list_policies),
    read("ListTargetsForPolicy", "POST", "/policy-targets/{policyName}", attachment::list_targets)
        .on(K::Policy, "policyName"),
    change(
        "AttachPrincipalPolicy",
        "PUT",
        "/principal-policies/{policyName}",
        attachment::attach_principal,
    ),
    change(
        "DetachPrincipalPolicy",
        "DELETE",
        "/principal-policies/{policyName}",
        attachment::detach_principal,
    ),
    read("ListPrincipalPolicies", "GET", "/principal-policies", attachment::list_of_principal),
    read("ListPolicyPrincipals", "GET", "/policy-principals", attachment::list_principals),
    change("AttachThingPrincipal", "PUT", "/things/{thingName}/principals", principal::attach),
    change("DetachThingPrincipal", "DELETE", "/things/{thingName}/principals", principal::detach),
    read("ListThingPrincipals", "GET", "/things/{thingName}/principals", principal::list)
        .on(K::Thing, "thingName"),
    read("ListThingPrincipalsV2", "GET", "/things/{thingName}/principals-v2", principal::list_v2)
        .on(K::Thing, "thingName"),
    read("ListPrincipalThings", "GET", "/principals/things", principal::list_things),
    read("ListPrincipalThingsV2", "GET", "/principals/things-v2", principal::list_things_v2),
    read("TestAuthorization", "POST", "/test-authorization", authorization::test),
    read("GetEffectivePolicies", "POST", "/effective-policies", authorization::effective_policies),
    change("CreateAuthorizer", "POST", "/authorizer/{authorizerName}", authorizer::create)
        .on(K::Authorizer, "authorizerName"),
    read("DescribeAuthorizer", "GET", "/authorizer/{authorizerName}", authorizer::describe)
        .on(K::Authorizer, "authorizerName"),
    change("UpdateAuthorizer", "PUT", "/authorizer/{authorizerName}", authorizer::update)
        .on(K::Authorizer, "authorizerName"),
    change("DeleteAuthorizer", "DELETE", "/authorizer/{authorizerName}", authorizer::delete)
        .on(K::Authorizer, "authorizerName"),
    read(TEST_INVOKE, "POST", "/authorizer/{authorizerName}/test", authorizer::test)
        .on(K::Authorizer, "authorizerName"),
    read("ListAuthorizers", "GET", "/authorizers/", authorizer::list),
    change("SetDefaultAuthorizer", "POST", "/default-authorizer", authorizer::set_default),
    read("DescribeDefaultAuthorizer", "GET", "/default-authorizer", authorizer::describe_default),
    change("ClearDefaultAuthorizer", "DELETE", "/default-authorizer", authorizer::clear_default),
    change("TagResource", "POST", "/tags", tag::tag),
    change("UntagResource", "POST", "/untag", tag::untag),
    read("ListTagsForResource", "GET", "/tags", tag::list),
    change("CreateCredential", "POST", "/bitts/v1/credentials", credential::create)
        .with(Material::Credential)
        .ours(),
    read("ListCredentials", "GET", "/bitts/v1/credentials", credential::list).ours(),
    change("UpdateCredential", "PUT", "/bitts/v1/credentials/{credentialId}", credential::update)
        .ours(),
    change(
        "DeleteCredential",
        "DELETE",
        "/bitts/v1/credentials/{credentialId}",
        credential::delete,
    )
    .ours(),
    read("CheckPolicy", "POST", "/bitts/v1/policy/check", authorization::check).ours(),
];

/// An operation and the names in its path: enough to ask for permission.
#[derive(Clone, Debug)]
pub struct Route {
    pub(super) operation: &'static Operation,
    pub(super) labels: Vec<(&'static str, String)>,
}

/// Why a request is no operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteError {
    /// Not a path of the control plane.
    UnknownPath,
    /// A path of the control plane, with another verb.
    Method,
    /// A bad escape, bytes that are not UTF-8, or a NUL.
    Invalid,
}

impl Route {
    /// Which operation.
    #[must_use]
    pub fn operation(&self) -> &'static Operation {
        self.operation
    }

    /// What is asked for, as policies name it: `iot:CreateThing`, `bitts:CheckPolicy`.
    #[must_use]
    pub fn action(&self) -> String {
        format!("{}:{}", self.operation.service, self.operation.name)
    }

    /// On which resource; `None` for an action on none, which only `*` allows.
    #[must_use]
    pub fn resource(&self) -> Option<(ResourceKind, &str)> {
        let (kind, label) = self.operation.resource?;
        let name = self.labels.iter().find(|(known, _)| *known == label)?;
        Some((kind, &name.1))
    }
}

/// The operation of a request line. `raw_path` is as it came, without `?` and what follows.
pub fn route(method: &str, raw_path: &str) -> Result<Route, RouteError> {
    let mut same_path = OPERATIONS.iter().filter(|it| has_form(raw_path, it.path)).peekable();
    if same_path.peek().is_none() {
        return Err(RouteError::UnknownPath);
    }
    let operation = same_path.find(|it| it.method == method).ok_or(RouteError::Method)?;
    let mut labels = Vec::new();
    for (text, form) in raw_path.split('/').zip(operation.path.split('/')) {
        if let Some(label) = label_of(form) {
            labels.push((label, decode(text).ok_or(RouteError::Invalid)?));
        }
    }
    Ok(Route { operation, labels })
}

fn label_of(form: &str) -> Option<&str> {
    form.strip_prefix('{')?.strip_suffix('}')
}

/// Whether a path has an operation's form; a label is one part and not empty.
fn has_form(path: &str, form: &str) -> bool {
    let mut parts = path.split('/');
    let fits = form.split('/').all(|form| {
        parts.next().is_some_and(|part| match label_of(form) {
            Some(_) => !part.is_empty(),
            None => part == form,
        })
    });
    fits && parts.next().is_none()
}

/// The name of an operation, if there is one of this name.
#[must_use]
pub fn operation_name(name: &str) -> Option<&'static str> {
    OPERATIONS.iter().map(|operation| operation.name).find(|known| *known == name)
}

/// How many operations there are.
#[cfg(test)]
pub(super) fn operation_count() -> usize {
    OPERATIONS.len()
}

/// The request line of an operation, with one name for every label.
#[cfg(test)]
pub(super) fn request_line(number: usize, name: &str) -> (&'static str, String) {
    let encoded = name.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    let Operation { method, path, .. } = &OPERATIONS[number];
    let parts = path.split('/').map(|part| label_of(part).map_or(part, |_| &encoded));
    (method, parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    fn action(method: &str, path: &str) -> Result<String, RouteError> {
        route(method, path).map(|route| route.action())
    }

    #[test]
    fn a_path_is_split_before_it_is_decoded() {
        let path = "/attached-policies/arn%3Aaws%3Aiot%3Aus-east-1%3A1%3Acert%2Fab";
        let route = route("POST", path).unwrap();
        assert_eq!(route.labels, [("target", "arn:aws:iot:us-east-1:1:cert/ab".to_owned())]);
        assert_eq!(action("GET", "/things/a/b").unwrap_err(), RouteError::UnknownPath);
        assert_eq!(action("GET", "/things/a%2Fb").unwrap(), "iot:DescribeThing");
        assert_eq!(action("GET", "/things/%ff").unwrap_err(), RouteError::Invalid);
        assert_eq!(action("GET", "/things/").unwrap_err(), RouteError::UnknownPath);
        assert_eq!(action("POST", "/things").unwrap_err(), RouteError::Method);
    }

    #[test]
    fn a_route_says_what_permission_it_asks_for() {
        let route = route("DELETE", "/certificates/ab").unwrap();
        assert_eq!(route.action(), "iot:DeleteCertificate");
        assert_eq!(route.resource(), Some((ResourceKind::Certificate, "ab")));
        let ours = super::route("GET", "/bitts/v1/credentials").unwrap();
        assert_eq!((ours.action().as_str(), ours.resource()), ("bitts:ListCredentials", None));
        let add = super::route("PUT", "/thing-groups/addThingToThingGroup").unwrap();
        assert_eq!(add.action(), "iot:AddThingToThingGroup");
    }

    /// Contract §1, trap 1: no path is the data plane's too, whatever the method.
    #[test]
    fn no_path_belongs_to_both_planes() {
        for operation in OPERATIONS {
            let path = operation.path.replace(['{', '}'], "");
            assert_eq!(api::route(operation.method, &path), Err(api::RouteError::UnknownPath));
        }
        for path in ["/connections/a", "/topics/a", "/things/a/shadow", "/retainedMessage"] {
            assert_eq!(action("GET", path).unwrap_err(), RouteError::UnknownPath);
        }
    }

    #[test]
    fn every_resource_is_a_label_of_its_path() {
        for operation in OPERATIONS {
            if let Some((_, label)) = operation.resource {
                assert!(operation.path.contains(&format!("{{{label}}}")), "{}", operation.name);
            }
        }
    }
}
