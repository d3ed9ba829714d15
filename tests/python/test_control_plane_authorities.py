"""Authorities and what they sign: signing requests, proof of a key, certificates of a CA."""

import subprocess

import pytest

from control import ACCOUNT, control_plane
from test_control_plane import refused


@pytest.fixture(scope="module")
def plane(fresh_server):
    return control_plane(fresh_server.endpoint)


@pytest.fixture
def openssl(tmp_path):
    """Runs openssl in a folder; gives a file's text."""
    def run(*words, gives):
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / gives).read_text()
    return run


def authority(openssl, word):
    return openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{word}.key",
                   "-out", f"{word}.pem", "-subj", f"/CN={word}", "-days", "30",
                   gives=f"{word}.pem")


def signed(openssl, ca, word, common_name):
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{word}.key", "-out",
            f"{word}.csr", "-subj", f"/O=Acme/CN={common_name}", gives=f"{word}.csr")
    return openssl("x509", "-req", "-in", f"{word}.csr", "-CA", f"{ca}.pem", "-CAkey",
                   f"{ca}.key", "-CAcreateserial", "-days", "9", "-out", f"{word}.pem",
                   gives=f"{word}.pem")


def test_certificate_from_csr(plane, openssl, tmp_path):
    """The certificate is for the device's own key and keeps its subject."""
    csr = openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                  "-keyout", "d.key", "-out", "d.csr", "-subj", "/CN=lamp", gives="d.csr")
    made = plane.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=True)
    (tmp_path / "d.pem").write_text(made["certificatePem"])
    text = openssl("x509", "-in", "d.pem", "-noout", "-subject", "-pubkey", "-out", "text",
                   gives="text")
    public = openssl("pkey", "-in", "d.key", "-pubout", "-out", "d.pub", gives="d.pub")
    assert public in text and "lamp" in text
    described = plane.describe_certificate(certificateId=made["certificateId"])
    assert described["certificateDescription"]["status"] == "ACTIVE"
    for bad in ("x", csr.replace("M", "N", 9)):
        refused("InvalidRequestException", 400, plane.create_certificate_from_csr,
                certificateSigningRequest=bad)


def test_registered_authority(plane, openssl):
    ca, other = authority(openssl, "root"), authority(openssl, "other")
    code = plane.get_registration_code()["registrationCode"]
    assert len(code) == 64 and plane.get_registration_code()["registrationCode"] == code
    proof = signed(openssl, "root", "proof", code)
    refused("CertificateValidationException", 400, plane.register_ca_certificate,
            caCertificate=other, verificationCertificate=proof)
    wrong = signed(openssl, "root", "wrong", "another")
    refused("RegistrationCodeValidationException", 400, plane.register_ca_certificate,
            caCertificate=ca, verificationCertificate=wrong)
    refused("CertificateValidationException", 400, plane.register_ca_certificate,
            caCertificate=proof, verificationCertificate=proof)
    device = signed(openssl, "root", "device", "lamp")
    refused("CertificateValidationException", 400, plane.register_certificate,
            certificatePem=device)

    made = plane.register_ca_certificate(caCertificate=ca, verificationCertificate=proof,
                                         setAsActive=True, allowAutoRegistration=True,
                                         tags=[{"Key": "k", "Value": "v"}])
    ca_id = made["certificateId"]
    assert made["certificateArn"] == f"{ACCOUNT}cacert/{ca_id}"
    refused("ResourceAlreadyExistsException", 409, plane.register_ca_certificate,
            caCertificate=ca, verificationCertificate=proof)
    described = plane.describe_ca_certificate(certificateId=ca_id)["certificateDescription"]
    assert (described["status"], described["autoRegistrationStatus"]) == ("ACTIVE", "ENABLE")
    tags = plane.list_tags_for_resource(resourceArn=made["certificateArn"])["tags"]
    assert tags == [{"Key": "k", "Value": "v"}]

    registered = plane.register_certificate(certificatePem=device, caCertificatePem=ca,
                                            setAsActive=True)
    one = registered["certificateId"]
    described = plane.describe_certificate(certificateId=one)["certificateDescription"]
    assert (described["caCertificateId"], described["status"]) == (ca_id, "ACTIVE")
    by_ca = plane.list_certificates_by_ca(caCertificateId=ca_id)["certificates"]
    assert [it["certificateId"] for it in by_ca] == [one]

    refused("CertificateStateException", 406, plane.delete_ca_certificate, certificateId=ca_id)
    plane.update_ca_certificate(certificateId=ca_id, newStatus="INACTIVE",
                                newAutoRegistrationStatus="DISABLE")
    late = signed(openssl, "root", "late", "late")
    refused("CertificateValidationException", 400, plane.register_certificate, certificatePem=late)
    assert ca_id in [it["certificateId"] for it in plane.list_ca_certificates()["certificates"]]
    plane.delete_ca_certificate(certificateId=ca_id)
    refused("ResourceNotFoundException", 404, plane.describe_ca_certificate, certificateId=ca_id)
    plane.delete_registration_code()
    assert plane.get_registration_code()["registrationCode"] != code
