"""A server with `--auth enforce`, its administrator, and whatever identities a test needs."""

import base64
import dataclasses
import datetime
import hashlib
import http.client
import itertools
import json
import pathlib
import ssl
import subprocess
import types
import urllib.parse

import boto3
import botocore.config
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from control import control_plane, document
from server import BINARY, Server
from ways import Way, WebSocket, upgrade
from wire import CONNACK, Closed, Wire, connect

REGION = "us-east-1"
TIMESTAMP = "%Y%m%dT%H%M%SZ"
# A key that only `registry.log` can hold: what makes temporary credentials is not here.
TEMPORARY = types.SimpleNamespace(
    id="ASIATEMPORARYEXAMPLE", secret="TemporarySecretExample", token="Temporary//Token+Example==")


class Key(tuple):
    """An access key: (id, secret)."""

    id = property(lambda self: self[0])
    secret = property(lambda self: self[1])


class Enforced(Server):
    """`bitts serve --auth enforce` on a data directory of its own."""

    KEEPS = ("--data-dir", "bitts-data", "--auth", "enforce")
    _numbers = itertools.count(1)

    def __init__(self, *flags):
        # What must not be in a log, an answer of our own paths, or anything else it writes.
        self.secrets = [TEMPORARY.secret, TEMPORARY.token]
        super().__init__(*flags)
        self.plane = control_plane(self.endpoint, *self.admin)

    def prepare(self, folder):
        self.data_dir = folder / "bitts-data"
        made = subprocess.run(
            [BINARY, "credential", "create", "--admin", "--data-dir", self.data_dir, "--output",
             "json"], check=True, capture_output=True, text=True)
        self.admin = self._key(json.loads(made.stdout))
        with open(self.data_dir / "registry.log", "ab") as log:
            log.write(line(["accessKey", TEMPORARY.id, {
                "secret": TEMPORARY.secret, "sessionToken": TEMPORARY.token, "isActive": True}]))

    def restart(self):
        super().restart()
        self.plane = control_plane(self.endpoint, *self.admin)

    def _key(self, made):
        self.secrets.append(made["secretAccessKey"])
        return Key((made["accessKeyId"], made["secretAccessKey"]))

    def ours(self, method, path, body=None, key=None):
        """What one of our own paths answers to a signed request, parsed."""
        content = b"" if body is None else json.dumps(body).encode()
        answer = self.send(sign(self, key or self.admin, method, path, content))
        assert answer.status == 200, answer.body
        return json.loads(answer.body) if answer.body else None

    def policy(self, *statements):
        """The name of a policy of (effect, action, resource) statements, or of a document."""
        text = statements[0] if isinstance(statements[0], str) else document(*statements)
        name = f"policy-{next(self._numbers)}"
        self.plane.create_policy(policyName=name, policyDocument=text)
        return name

    def key(self, *statements, **more):
        """An access key that may do this; without statements it may do everything."""
        names = [self.policy(*statements)] if statements else []
        return self._key(self.ours("POST", "/bitts/v1/credentials",
                                   {"policyNames": names, **more}))

    def update_key(self, key, status):
        self.ours("PUT", f"/bitts/v1/credentials/{key.id}?newStatus={status}")

    def user(self, user_name, password, *statements):
        """A user of MQTT with a password."""
        self.secrets.append(password)
        self.ours("POST", "/bitts/v1/credentials", {
            "userName": user_name, "password": password,
            "policyNames": [self.policy(*statements)]})

    def certificate(self, *statements, active=True):
        """A device's certificate that the server made: id, arn, and files for TLS."""
        made = self.plane.create_keys_and_certificate(setAsActive=active)
        one = made["certificateId"]
        folder = pathlib.Path(self.folder.name)
        (folder / f"{one}.pem").write_text(made["certificatePem"])
        (folder / f"{one}.key").write_text(made["keyPair"]["PrivateKey"])
        self.secrets.append(made["keyPair"]["PrivateKey"].splitlines()[1])
        made = Certificate(self, one, str(folder / f"{one}.pem"), str(folder / f"{one}.key"))
        if statements:
            made.attach(self.policy(*statements))
        return made

    def data(self, key, token=None, **config):
        """An unmodified boto3 client of the data plane."""
        config.setdefault("retries", {"total_max_attempts": 1})
        return boto3.client(
            "iot-data", endpoint_url=self.endpoint, region_name=REGION,
            aws_access_key_id=key[0], aws_secret_access_key=key[1], aws_session_token=token,
            config=botocore.config.Config(**config))

    def send(self, request, certificate=None, context=None, client=None):
        """Sends a request as it is; over HTTPS with a certificate or a TLS context."""
        if certificate:
            context = certificate.context()
        to = client or (http.client.HTTPSConnection(*self.addresses["https"], context=context,
                                                    timeout=10) if context
                        else http.client.HTTPConnection(*self.http, timeout=10))
        to.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for key, value in request.headers:
            to.putheader(key, value)
        to.endheaders(request.body)
        answer = to.getresponse()
        headers = {key.lower(): value for key, value in answer.getheaders()}
        got = types.SimpleNamespace(status=answer.status, headers=headers, body=answer.read(),
                                    error=headers.get("x-amzn-errortype"))
        if not client:
            to.close()
        return got

    def told(self):
        """Where the server wrote one of the secrets down."""
        texts = {"log": self.log(), "audit": (self.data_dir / "audit.log").read_text()}
        metrics = self.send(sign(self, self.admin, "GET", "/metrics"))
        assert metrics.status == 200
        texts["metrics"] = metrics.body.decode()
        texts["arguments"] = pathlib.Path(f"/proc/{self.process.pid}/cmdline").read_text()
        return [(place, secret) for place, text in texts.items()
                for secret in self.secrets if secret in text]


@dataclasses.dataclass(frozen=True)
class CertifiedWay(Way):
    """A way to the server with a certificate of a test's own."""

    holder: "Certificate" = None

    def context(self, server):
        return self.holder.context([self.alpn] if self.alpn else [])


@dataclasses.dataclass(frozen=True)
class SignedWay(Way):
    """MQTT over WebSocket with a signed URL: what `presign` makes."""

    # Of the upgrade: its target and its Host.
    target: str = ""
    host: str = ""

    def open(self, server, seconds=10.0):
        stream = Way(self.listener, self.tls).open(server, seconds)
        return WebSocket(stream, upgrade(target=self.target, Host=self.host))


def presign(server, key, form="crt", *, listener="https", token=None, skew=0, path="/mqtt",
            service="iotdevicegateway", expires=None):
    """A signed URL as different clients make it (`mqtt-broker.md` §1.1).

    `crt`: AWS's device SDKs; `browser`: those in a browser; `presigned`: any library's.
    """
    address = "{}:{}".format(*server.addresses[listener])
    alone = server.addresses[listener][0]
    headers = {"Connection": "Upgrade"} if form == "crt" else {}
    if form != "presigned":
        headers["Host"] = alone
    inside = token if form == "presigned" else None
    expires = expires or (86_400 if form == "presigned" else None)
    signed = sign(server, key, "GET", path, service=service, token=inside, skew=skew, query=True,
                  headers=headers, expires=expires, host=address)
    target = signed.target
    if token and not inside:
        target += "&X-Amz-Security-Token=" + urllib.parse.quote(token, safe="")
    return SignedWay(listener, tls=listener == "https", websocket=True, target=target,
                     host=alone if form == "crt" else address)


class Authority:
    """A certificate authority of a test's own, by openssl: signs, revokes."""

    CONFIG = """
[ca]
default_ca = it
[it]
database = index
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 9
default_crl_days = 9
unique_subject = no
copy_extensions = copy
x509_extensions = device
crlnumber = serial
policy = any
[device]
basicConstraints = CA:FALSE
[any]
commonName = optional
organizationName = optional
organizationalUnitName = optional
[req]
distinguished_name = name
[name]
"""

    def __init__(self, folder, common_name="Test authority"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        (self.folder / "config").write_text(self.CONFIG)
        (self.folder / "index").write_text("")
        (self.folder / "serial").write_text("1000\n")
        self.number = itertools.count(1)
        self._run("req", "-x509", *self._new_key("ca"), "-days", "30", "-subj",
                  f"/CN={common_name}", "-out", "ca.pem",
                  "-addext", "basicConstraints=critical,CA:TRUE")
        self.pem = (self.folder / "ca.pem").read_text()

    def _run(self, *words):
        subprocess.run(["openssl", words[0], "-config", "config", *words[1:]], cwd=self.folder,
                       check=True, capture_output=True)

    @staticmethod
    def _new_key(word, kind="ec"):
        kinds = {"ec": ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), "rsa": ("rsa:2048",)}
        return "-newkey", *kinds[kind], "-nodes", "-keyout", f"{word}.key"

    def sign(self, server, subject="/CN=device", dates=(), extensions=(), plain=False, key="ec"):
        """A certificate that nobody registered; `dates` are YYYYMMDDHHMMSSZ.

        A plain one is of version 1: what `openssl x509 -req` makes, as AWS's guide says to.
        """
        word = f"device{next(self.number)}"
        added = [it for extension in extensions for it in ("-addext", extension)]
        self._run("req", *self._new_key(word, key), "-subj", subject, *added, "-out", f"{word}.csr")
        if plain:
            subprocess.run(
                ["openssl", "x509", "-req", "-in", f"{word}.csr", "-CA", "ca.pem", "-CAkey",
                 "ca.key", "-CAcreateserial", "-days", "9", "-out", f"{word}.pem"],
                cwd=self.folder, check=True, capture_output=True)
        else:
            dates = [it for pair in zip(("-startdate", "-enddate"), dates) for it in pair]
            self._run("ca", "-batch", "-notext", "-in", f"{word}.csr", "-out", f"{word}.pem",
                      *dates)
        file, key = self.folder / f"{word}.pem", self.folder / f"{word}.key"
        one = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).hexdigest()
        return Certificate(server, one, str(file), str(key))

    def revoke(self, *certificates, plain=False):
        """The list of what is revoked, PEM; a plain one is of version 1."""
        for certificate in certificates:
            self._run("ca", "-revoke", certificate.certificate)
        if plain:
            config = self.CONFIG.replace("crlnumber = serial\n", "")
            (self.folder / "config").write_text(config)
        self._run("ca", "-gencrl", "-out", "list.pem")
        (self.folder / "config").write_text(self.CONFIG)
        return (self.folder / "list.pem").read_text()


class Certificate:
    """A certificate that is registered, or not, with its key."""

    def __init__(self, server, one, certificate, key):
        self.server, self.id, self.certificate, self.key = server, one, certificate, key
        self.arn = f"arn:aws:iot:{REGION}:000000000000:cert/{one}"

    @property
    def pem(self):
        return pathlib.Path(self.certificate).read_text()

    def register(self, *statements, status="ACTIVE"):
        """Makes it known, whoever signed it."""
        made = self.server.plane.register_certificate_without_ca(
            certificatePem=self.pem, status=status)
        assert (made["certificateId"], made["certificateArn"]) == (self.id, self.arn)
        if statements:
            self.attach(self.server.policy(*statements))

    def attach(self, policy):
        self.server.plane.attach_policy(policyName=policy, target=self.arn)

    def detach(self, policy):
        self.server.plane.detach_policy(policyName=policy, target=self.arn)

    def update(self, status):
        self.server.plane.update_certificate(certificateId=self.id, newStatus=status)

    def way(self, listener="mqtts", alpn="", websocket=False):
        return CertifiedWay(listener, tls=True, alpn=alpn, websocket=websocket, holder=self)

    def context(self, alpn=()):
        context = ssl.create_default_context(cafile=self.server.ca)
        context.load_cert_chain(self.certificate, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def line(*rows):
    """A line of `registry.log`: CRC-32C and rows."""
    text = json.dumps(rows, separators=(",", ":")).encode()
    remainder = 0xFFFF_FFFF
    for byte in text:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F6_3B78 if remainder & 1 else 0)
    return b"%08x " % (remainder ^ 0xFFFF_FFFF) + text + b"\n"


class _At:
    """A signer of botocore with a clock of its own."""

    moment = None

    def add_auth(self, request):
        moment = self.moment or datetime.datetime.now(datetime.UTC)
        request.context["timestamp"] = moment.strftime(TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


class InHeaders(_At, SigV4Auth):
    """`Authorization`."""


class InQuery(_At, SigV4QueryAuth):
    """`X-Amz-Signature`; `Connection` is signed where it is given, as AWS's device SDKs do."""

    def headers_to_sign(self, request):
        headers = super().headers_to_sign(request)
        if "Connection" in request.headers:
            headers["connection"] = request.headers["Connection"]
        return headers

    def _modify_request_before_signing(self, request):
        super()._modify_request_before_signing(request)
        request.url = request.url.replace("&X-Amz-Expires=None", "")


def sign(server, key, method, target, body=b"", *, service="iotdata", token=None, skew=0,
         headers=(), query=False, unsigned=False, expires=300, signer=None, host=None):
    """A request signed by botocore: `skew` seconds from now, in headers or in the query.

    `expires=None` says none, as AWS's device SDKs do; `signer` is another class for headers.
    """
    credentials = Credentials(key[0], key[1], token)
    if query:
        signer = InQuery(credentials, service, REGION, expires=expires)
    else:
        signer = (signer or InHeaders)(credentials, service, REGION)
    signer.moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=skew)
    scheme = "https" if unsigned else "http"
    host = host or "{}:{}".format(*server.addresses[scheme])
    request = AWSRequest(method, f"{scheme}://{host}{target}", data=body, headers=dict(headers))
    request.context["payload_signing_enabled"] = not unsigned
    signer.add_auth(request)
    parts = urllib.parse.urlsplit(request.url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    sent = [("Host", host), *((key, str(value)) for key, value in request.headers.items())]
    if body or method in ("POST", "PUT", "PATCH"):
        sent.append(("Content-Length", str(len(body))))
    return types.SimpleNamespace(method=method, target=target, headers=sent, body=body)


def changed(request, **members):
    """A copy of a signed request with other members."""
    return types.SimpleNamespace(**{**vars(request), **members})


def unsigned(server, method, target, body=b"", headers=()):
    """A request without a signature."""
    sent = [("Host", "{}:{}".format(*server.http)), *headers]
    if body or method in ("POST", "PUT"):
        sent.append(("Content-Length", str(len(body))))
    return types.SimpleNamespace(method=method, target=target, headers=sent, body=body)


def basic(key):
    """The header of HTTP Basic."""
    return "Authorization", "Basic " + base64.b64encode(":".join(key).encode()).decode()


def knock(server, way, client_id, version=5, **options):
    """Tries to connect: (the client, the code of CONNACK or None where the server just closed)."""
    client = Wire(None, stream=way.open(server), version=version)
    client.send(connect(client_id, version, **options))
    try:
        kind, _, body = client.read()
    except Closed:
        return client, None
    assert kind == CONNACK, (kind, body)
    return client, body[1]
