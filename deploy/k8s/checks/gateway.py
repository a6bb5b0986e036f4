"""Whether the Gateway API's resources treat requests as `deploy/gateway/envoy.yaml` does: both are asked the same."""

import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from checks.manifests import FOLDER, Manifests, Resource, documents

GATEWAY = FOLDER.parent / "gateway"
_EXAMPLES = (
    *(f"{of}RATE_LIMIT_{what}" for of in ("", "SUBJECT_", "ADDRESS_") for what in ("PER_SECOND", "BURST")),
    *("TRUSTED_PROXIES", "MAX_REQUEST_BYTES", "MAX_HEADERS_KB", "ROUTE_TIMEOUT", "JWT_AUDIENCE"),
    *("HEADERS_TIMEOUT", "REQUEST_TIMEOUT", "CONCURRENT_REQUESTS"),
)
REFUSALS = ("CONNECT", "TRACE", "Host")
"""Routes of `envoy.yaml` that no HTTPRoute can stand for: docs/kubernetes.md tells what is answered there instead."""
_ID = "01980000-0000-7000-8000-000000000000"
_OTHERS = [
    ("GET", "/docs"),
    ("GET", "/docs/assets/swagger-ui.css"),
    ("GET", "/openapi.json"),
    ("GET", "/asyncapi.json"),
    ("POST", "/v1/metrics"),
    ("POST", "/v1/logs"),
    ("POST", "/v1/traces"),
    ("POST", "/api/v1/write"),
    *[("GET", path) for path in ("/", "/healthz", "/readyz", "/metrics", "/api/v1", "/api/v1/none", "/v1/none")],
    *[("GET", path) for path in ("/api/v1/requirementsx", "/api/v1/jobsx", "/docsx", "/api/v1/requirements;x")],
]


@dataclass(frozen=True)
class Treatment:
    """What a gateway does with a request. Timeouts in seconds, 0 for none; sizes in bytes, None for no limit."""

    service: str
    timeout: float
    retried: bool
    body: int | None
    connections: int
    requests: int
    per_second: int
    address_per_second: int | None
    subject_per_second: int | None
    token: bool
    traced: bool


@cache
def operations() -> list[tuple[str, str]]:
    """(method, path) of all that the suite offers, and of some that it does not."""
    document = json.loads((GATEWAY / "openapi.json").read_bytes())
    offered = [
        (method.upper(), re.sub(r"\{[^}]*\}", _ID, path))
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "head", "options", "post", "put", "patch", "delete")
    ]
    return offered + _OTHERS


def seconds(duration: str) -> float:
    """`1m30s`, `250ms`, `0.05s`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return round(sum(float(n) * units[unit] for n, unit in re.findall(r"([0-9.]+)(ms|h|m|s)", duration)), 3)


def size(quantity: str | int) -> int:
    """`64Ki` in bytes."""
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)?", str(quantity)).groups()  # type: ignore[union-attr]
    return int(number) * {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


class Template:
    """`envoy.yaml`, filled in with the examples of its own head."""

    def __init__(self, path: Path = GATEWAY / "envoy.yaml") -> None:
        text = path.read_text()
        template = string.Template(text)
        values = dict.fromkeys(template.get_identifiers(), "1")
        values |= {"HEALTH_CHECKS": "[]", "JWKS_KIND": "local_jwks", "JWKS_SOURCE": "{}", "JWKS_TRANSPORT": "{}"}
        values["TRACE_SAMPLER"] = "{}"
        values |= {name: re.search(rf"\b{name} ([^\s,]+)", text)[1] for name in _EXAMPLES}  # type: ignore[index]
        [self.config] = documents(template.substitute(values))
        [listener] = self.config["static_resources"]["listeners"]
        self.listener = listener
        self.manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        filters = self.manager["http_filters"]
        self.filters = {each["name"].rpartition(".")[2]: each["typed_config"] for each in filters}
        [self.host] = self.manager["route_config"]["virtual_hosts"]
        self.clusters = {cluster["name"]: cluster for cluster in self.config["static_resources"]["clusters"]}

    def route(self, method: str, path: str) -> Resource | None:
        """The first that matches."""
        return next((dict(each) for each in self.host["routes"] if _matches(each["match"], method, path)), None)

    def treatment(self, method: str, path: str) -> Treatment | None:
        if (route := self.route(method, path)) is None:
            return None
        action = route.get("route") or {"cluster": "documents", "timeout": "30s"}
        own = route.get("typed_per_filter_config") or {}
        policy = self.host["retry_policy"] | action.get("retry_policy", {})
        methods = policy["retriable_request_headers"][0]["string_match"]["safe_regex"]["regex"]
        limit = own.get("envoy.filters.http.local_ratelimit") or self.filters["local_ratelimit"]
        buffer = own.get("envoy.filters.http.buffer", {})
        rule = next((r for r in self.filters["jwt_authn"]["rules"] if _matches(r["match"], method, path)), {})
        breaker = next(
            each
            for each in self.clusters["requirements"]["circuit_breakers"]["thresholds"]
            if each.get("priority", "DEFAULT") == action.get("priority", "DEFAULT")
        )
        return Treatment(
            service=action["cluster"],
            timeout=seconds(action["timeout"]),
            retried=policy["num_retries"] > 0 and re.fullmatch(methods, method) is not None,
            body=None
            if buffer.get("disabled")
            else (buffer.get("buffer") or self.filters["buffer"])["max_request_bytes"],
            connections=breaker["max_connections"],
            requests=breaker["max_requests"],
            per_second=limit["token_bucket"]["tokens_per_fill"],
            address_per_second=self._of_one("address_ratelimit", own, path),
            subject_per_second=self._of_one("subject_ratelimit", own, path) if "requires" in rule else None,
            token="requires" in rule,
            traced=not path.startswith("/v1/"),
        )

    def _of_one(self, name: str, own: Resource, path: str) -> int | None:
        disabled = own.get(f"plumbline.{name}", {}).get("disabled", False)
        return None if disabled else _per_second_of_one(self.filters[name], path)

    def facts(self) -> dict[str, Any]:
        """What holds for all requests."""
        manager, cors = self.manager, self.host["typed_per_filter_config"]["envoy.filters.http.cors"]
        common, http2 = manager["common_http_protocol_options"], manager["http2_protocol_options"]
        retry, routes = self.host["retry_policy"], manager["route_config"]
        mutations = self.filters["header_mutation"]["mutations"]
        back_off = retry["retry_back_off"]
        cluster = self.clusters["requirements"]
        [upstream] = cluster["typed_extension_protocol_options"].values()
        outliers = cluster["outlier_detection"]
        provider = self.filters["jwt_authn"]["providers"]["issuer"]
        overload = self.config["overload_manager"]["resource_monitors"][0]["typed_config"]
        return {
            "escaped slashes are refused": manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST",
            "slashes are merged": manager["merge_slashes"],
            "headers with underscores are dropped": common["headers_with_underscores_action"] == "DROP_HEADER",
            "request ids are kept": manager["preserve_external_request_id"],
            "time for a request to arrive": seconds(manager["request_timeout"]),
            "idle connection": seconds(common["idle_timeout"]),
            "idle stream": seconds(manager["stream_idle_timeout"]),
            "connections": overload["max_active_downstream_connections"],
            "buffer of a connection": self.listener["per_connection_buffer_limit_bytes"],
            "HTTP/2 streams": http2["max_concurrent_streams"],
            "HTTP/2 windows": [http2["initial_stream_window_size"], http2["initial_connection_window_size"]],
            "headers of answers": mutations["response_mutations"],
            "headers of answers without patches": {
                each["append"]["header"]["key"]: each["append"]["header"]["value"]
                for each in mutations["response_mutations"]
                if each["append"]["append_action"] != "ADD_IF_ABSENT"
            },
            "headers of requests": [each["append"] for each in mutations["request_mutations"]]
            + routes["request_headers_to_add"],
            "headers that services do not see": {
                each for each in routes["request_headers_to_remove"] if "fault" not in each
            },
            "headers that are not believed": [
                each
                for each in _early_mutations(manager)
                if "fault" not in each.get("append", {}).get("header", {}).get("key", "")
            ],
            "headers at most": [manager["max_request_headers_kb"], common["max_headers_count"]],
            "time for headers to arrive": seconds(manager["request_headers_timeout"]),
            "trusted proxies": manager["xff_num_trusted_hops"],
            "internal addresses": manager["internal_address_config"],
            "limit of one address": _limit_of_one(self.filters["address_ratelimit"]),
            "limit of one subject": _limit_of_one(self.filters["subject_ratelimit"]),
            "CORS methods": _words(cors["allow_methods"]),
            "CORS headers": _words(cors["allow_headers"]),
            "CORS exposed": _words(cors["expose_headers"]),
            "CORS age": float(cors["max_age"]),
            "tokens from": [(each["name"], each["value_prefix"]) for each in provider["from_headers"]],
            "audiences": provider["audiences"],
            "retried on": sorted(retry["retry_on"].split(",")),
            "retries": retry["num_retries"],
            "wait between retries": [seconds(back_off[each]) for each in ("base_interval", "max_interval")],
            "time to connect": seconds(cluster["connect_timeout"]),
            "idle connection to a service": seconds(upstream["common_http_protocol_options"]["idle_timeout"]),
            "outliers": [
                outliers["consecutive_5xx"],
                outliers["consecutive_gateway_failure"],
                seconds(outliers["interval"]),
                seconds(outliers["base_ejection_time"]),
                outliers["max_ejection_percent"],
            ],
            "own answers": manager["local_reply_config"],
        }


def _matches(match: Resource, method: str, path: str) -> bool:
    """Whether Envoy's RouteMatch takes a request to a well-formed host."""
    known = {":method": method, ":authority": "plumbline.example.com"}
    if not all(_holds(header, known) for header in match.get("headers") or []):
        return False
    if "path" in match:
        return bool(path == match["path"])
    if "prefix" in match:
        return path.startswith(match["prefix"])
    if "path_separated_prefix" in match:
        return f"{path}/".startswith(f"{match['path_separated_prefix']}/")
    return "safe_regex" in match and re.fullmatch(match["safe_regex"]["regex"], path) is not None


def _holds(header: Resource, known: dict[str, str]) -> bool:
    """Whether Envoy's HeaderMatcher does."""
    wanted, value = header["string_match"], known[header["name"]]
    found = value == wanted["exact"] if "exact" in wanted else re.fullmatch(wanted["safe_regex"]["regex"], value)
    return bool(found) != header.get("invert_match", False)


def _early_mutations(manager: Resource) -> list[Resource]:
    [extension] = manager["early_header_mutation_extensions"]
    return list(extension["typed_config"]["mutations"])


def _exceptions(limiter: Resource) -> list[Resource]:
    """The actions that keep requests out of a limit."""
    [limit] = limiter["rate_limits"]
    return [action["header_value_match"] for action in limit["actions"] if "header_value_match" in action]


def _per_second_of_one(limiter: Resource, path: str) -> int | None:
    for exception in _exceptions(limiter):
        if any(_holds(header, {":path": path}) for header in exception["headers"]):
            return None
    [descriptor] = limiter["descriptors"]
    return int(descriptor["token_bucket"]["tokens_per_fill"])


def _limit_of_one(limiter: Resource) -> Resource:
    """What is counted, and how much; but exceptions, which treatments tell, and where metadata keep the payload."""
    keys = {exception["descriptor_key"] for exception in _exceptions(limiter)}
    [limit], [descriptor] = limiter["rate_limits"], limiter["descriptors"]
    [action] = [each for each in limit["actions"] if "header_value_match" not in each]
    return limiter | {
        "rate_limits": action["metadata"]["metadata_key"]["path"][1:] if "metadata" in action else action,
        "descriptors": [each for each in descriptor["entries"] if each["key"] not in keys]
        + [descriptor["token_bucket"]],
    }


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


class Resources:
    """The same in the words of the Gateway API and of Envoy Gateway."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests

    @classmethod
    def of_base(cls) -> "Resources":
        """Of the files as they stand, which no overlay changes but for names and numbers of pods."""
        files = ("gateway.yaml", "routes.yaml", "traffic.yaml", "edge.yaml")
        texts = [(FOLDER / "base" / name).read_text() for name in files]
        return cls(Manifests(each for text in texts for each in documents(text)))

    def route(self, method: str, path: str) -> tuple[str, Resource] | None:
        """The HTTPRoute and its rule: exact before expression before prefix, the longest, one with a method first."""
        best: tuple[tuple[int, int, bool], str, Resource] | None = None
        for route in self._manifests.kind("HTTPRoute"):
            for rule in route["spec"]["rules"]:
                for match in rule["matches"]:
                    rank = _rank(match, method, path)
                    if rank is not None and (best is None or rank > best[0]):
                        best = (rank, route["metadata"]["name"], rule)
        return None if best is None else best[1:]

    def policy(self, kind: str, route: str | None = None) -> Resource:
        """That of the route, else that of the Gateway."""
        found: Resource = {}
        for policy in self._manifests.kind(kind):
            for target in policy["spec"]["targetRefs"]:
                if target["kind"] == "HTTPRoute" and target["name"] == route:
                    return dict(policy["spec"])
                if target["kind"] == "Gateway":
                    found = policy["spec"]
        return found

    def patched(self, name: str) -> Any:
        """What patches say of that field of the connection manager, or of the filter of that name."""
        for policy in self._manifests.kind("EnvoyPatchPolicy"):
            for patch in policy["spec"]["jsonPatches"]:
                path, value = patch["operation"].get("path", ""), patch["operation"]["value"]
                if path.endswith(f"/{name}"):
                    return value
                if isinstance(value, dict) and value.get("name", "").rpartition(".")[2] == name:
                    return value["typed_config"]
        raise LookupError(f"no patch says {name}")

    def treatment(self, method: str, path: str) -> Treatment | None:
        if (found := self.route(method, path)) is None:
            return None
        name, rule = found
        token = "jwt" in self.policy("SecurityPolicy", name)
        traffic = self.policy("BackendTrafficPolicy", name)
        limit = traffic["rateLimit"]["local"]["rules"][0]["limit"]
        fraction = ((traffic.get("telemetry") or {}).get("tracing") or {}).get("samplingFraction")
        return Treatment(
            service=rule["backendRefs"][0]["name"],
            timeout=seconds(rule["timeouts"]["request"]),
            retried=traffic["retry"]["numRetries"] > 0,
            body=size(traffic["requestBuffer"]["limit"]) if "requestBuffer" in traffic else None,
            connections=traffic["circuitBreaker"]["maxConnections"],
            requests=traffic["circuitBreaker"]["maxParallelRequests"],
            per_second=limit["requests"] if limit["unit"] == "Second" else 0,
            address_per_second=_per_second_of_one(self.patched("address_ratelimit"), path),
            subject_per_second=_per_second_of_one(self.patched("subject_ratelimit"), path) if token else None,
            token=token,
            traced=fraction is None or fraction["numerator"] > 0,
        )

    def facts(self) -> dict[str, Any]:
        client, security = self.policy("ClientTrafficPolicy"), self.policy("SecurityPolicy")
        traffic = self.policy("BackendTrafficPolicy", "requirements-reads")
        cors, headers, timeout = security["cors"], client["headers"], client["timeout"]["http"]
        retry, passive = traffic["retry"], traffic["healthCheck"]["passive"]
        [provider] = security["jwt"]["providers"]
        back_off, http2 = retry["perRetry"]["backOff"], client["http2"]
        mutations = self.patched("header_mutation")["mutations"]
        forwarded = client.get("clientIPDetection", {}).get("xForwardedFor", {})
        return {
            "escaped slashes are refused": client["path"]["escapedSlashesAction"] == "RejectRequest",
            "slashes are merged": not client["path"]["disableMergeSlashes"],
            "headers with underscores are dropped": headers["withUnderscoresAction"] == "DropHeader",
            "request ids are kept": headers["requestID"] == "PreserveOrGenerate",
            "time for a request to arrive": seconds(timeout["requestReceivedTimeout"]),
            "idle connection": seconds(timeout["idleTimeout"]),
            "idle stream": seconds(timeout["streamIdleTimeout"]),
            "connections": client["connection"]["connectionLimit"]["value"],
            "buffer of a connection": size(client["connection"]["bufferLimit"]),
            "HTTP/2 streams": http2["maxConcurrentStreams"],
            "HTTP/2 windows": [size(http2[f"initial{each}WindowSize"]) for each in ("Stream", "Connection")],
            "headers of answers": mutations["response_mutations"],
            "headers of answers without patches": {
                each["name"]: each["value"] for each in headers["lateResponseHeaders"]["set"]
            },
            "headers of requests": [each["append"] for each in mutations["request_mutations"] if "append" in each],
            "headers that services do not see": self._removed()
            | {each["remove"] for each in mutations["request_mutations"] if "remove" in each},
            "headers that are not believed": _early_mutations(
                {"early_header_mutation_extensions": self.patched("early_header_mutation_extensions")}
            ),
            "headers at most": [self.patched("max_request_headers_kb"), self.patched("max_headers_count")],
            "time for headers to arrive": seconds(self.patched("request_headers_timeout")),
            "trusted proxies": forwarded.get("numTrustedHops", 0),
            "internal addresses": self.patched("internal_address_config"),
            "limit of one address": _limit_of_one(self.patched("address_ratelimit")),
            "limit of one subject": _limit_of_one(self.patched("subject_ratelimit")),
            "CORS methods": cors["allowMethods"],
            "CORS headers": cors["allowHeaders"],
            "CORS exposed": cors["exposeHeaders"],
            "CORS age": seconds(cors["maxAge"]),
            "tokens from": [(each["name"], each["valuePrefix"]) for each in provider["extractFrom"]["headers"]],
            "audiences": provider["audiences"],
            "retried on": sorted(retry["retryOn"]["triggers"]),
            "retries": retry["numRetries"],
            "wait between retries": [seconds(back_off[each]) for each in ("baseInterval", "maxInterval")],
            "time to connect": seconds(traffic["timeout"]["tcp"]["connectTimeout"]),
            "idle connection to a service": seconds(traffic["timeout"]["http"]["connectionIdleTimeout"]),
            "outliers": [
                passive["consecutive5XxErrors"],
                passive["consecutiveGatewayErrors"],
                seconds(passive["interval"]),
                seconds(passive["baseEjectionTime"]),
                passive["maxEjectionPercent"],
            ],
            "own answers": self.patched("local_reply_config"),
        }

    def _removed(self) -> set[str]:
        """What every rule of every route takes from a request."""
        rules = [rule for route in self._manifests.kind("HTTPRoute") for rule in route["spec"]["rules"]]
        removed = [{name for f in rule["filters"] for name in f["requestHeaderModifier"]["remove"]} for rule in rules]
        return set.intersection(*removed)


def _rank(match: Resource, method: str, path: str) -> tuple[int, int, bool] | None:
    if match.get("method", method) != method:
        return None
    kind, value = match["path"]["type"], match["path"]["value"]
    if kind == "Exact" and path == value:
        return 2, len(value), "method" in match
    if kind == "RegularExpression" and re.fullmatch(value, path):
        return 1, len(value), "method" in match
    if kind == "PathPrefix" and (path == value or path.startswith(value.rstrip("/") + "/")):
        return 0, len(value), "method" in match
    return None


def differences(template: Template, resources: Resources) -> Iterator[str]:
    """Where the two treat an operation, or all requests, in another way."""
    for method, path in operations():
        one, other = template.treatment(method, path), resources.treatment(method, path)
        if one is None or other is None:
            if one is not other:
                yield f"{method} {path}: {'envoy.yaml' if one else 'routes.yaml'} alone has a route"
            continue
        for field in fields(Treatment):
            here, there = getattr(one, field.name), getattr(other, field.name)
            if here != there:
                yield f"{method} {path}: {field.name} is {here} in envoy.yaml, {there} in Kubernetes"
    one_facts, other_facts = template.facts(), resources.facts()
    for name, value in one_facts.items():
        if value != other_facts[name]:
            yield f"{name}: {value} in envoy.yaml, {other_facts[name]} in Kubernetes"


def routes_that_nobody_asks_for(template: Template) -> Iterator[str]:
    """Routes of `envoy.yaml` that no known operation reaches, so that nothing compares them."""
    found = [template.route(method, path) for method, path in operations()]
    reached = {route["name"] for route in found if route is not None}
    for route in template.host["routes"]:
        if route["name"] not in reached and route["name"] not in REFUSALS:
            yield f"{route['name']} is reached by no operation"


def gateways_agree(manifests: Manifests) -> Iterator[str]:
    yield from differences(Template(), Resources(manifests))


def documents_agree(manifests: Manifests) -> Iterator[str]:
    """The documents come with the headers that `envoy.yaml` gives them."""
    found = [config["data"] for config in manifests.kind("ConfigMap") if config.get("data")]
    [config] = [data["envoy.yaml"] for data in found if "envoy.yaml" in data]
    [parsed] = documents(config)
    [listener] = parsed["static_resources"]["listeners"]
    [host] = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    given = {route["match"].get("path"): route for route in host["routes"]}
    for route in Template().host["routes"]:
        if route.get("direct_response", {}).get("status") == 200:
            path = route["match"]["path"]
            if given.get(path, {}).get("response_headers_to_add") != route["response_headers_to_add"]:
                yield f"{path}: the headers of the document are not those of envoy.yaml"


def routes_are_small_enough(manifests: Manifests) -> Iterator[str]:
    """The Gateway API takes 16 rules a route, 64 matches a rule and 128 matches a route."""
    for route in manifests.kind("HTTPRoute"):
        matches = [len(rule["matches"]) for rule in route["spec"]["rules"]]
        if len(matches) > 16 or max(matches) > 64 or sum(matches) > 128:
            yield f"HTTPRoute {route['metadata']['name']} is too large: {len(matches)} rules of {matches} matches"


CHECKS = (gateways_agree, documents_agree, routes_are_small_enough)
