#!/usr/bin/python3
"""A whole Rockstar plugin with nothing but grpcio: the host calls Plugin, the plugin calls PluginContext.

GET /stock/report is answered with what each method of the plugin context said, GET /stock/hello/NAME by a route.
"""

import json
import os
import pathlib
import queue
import sys
from concurrent import futures

DIRECTORY = pathlib.Path(os.environ["ROCKSTAR_PLUGIN_DIR"])
sys.path.insert(0, str(DIRECTORY / "vendor"))

import grpc  # noqa: E402
from rockstar.plugin.v1 import plugin_pb2 as wire, plugin_pb2_grpc as services  # noqa: E402
from rockstar.types.v1 import types_pb2 as types  # noqa: E402

PROTOCOL = 1
DEADLINE = 5  # seconds; no call to the host goes without one
METHODS = [
    "Name", "Version", "Description", "Author", "Dependencies",
    "Initialize", "Start", "Stop", "Cleanup", "ConfigSchema", "OnConfigChange",
]  # fmt: skip
KV, KIND = wire.KeyValueRequest, wire.Registration

MANIFEST = json.loads((DIRECTORY / "plugin.json").read_text())


def text(value):
    """A text as fields of type bytes carry it."""
    return types.Value(text=value).SerializeToString()


def decoded(value):
    return types.Value.FromString(value).text


def json_answer(body):
    header = types.Header(name="content-type", value=b"application/json")
    return types.Response(status=200, headers=[header], body=types.Body(whole=json.dumps(body).encode()))


def failed(error, kind=types.Failure.CLASS_RETURNED):
    return types.Failure(**{"class": kind, "text": str(error)})


class Refused(Exception):
    """The host said no; its own text."""


def checked(answer):
    if answer.HasField("failure"):
        raise Refused(answer.failure.text)
    return answer


class Plugin(services.PluginServicer):
    def __init__(self, host):
        self.host = host
        self.name = os.environ["ROCKSTAR_PLUGIN_NAME"]
        self.greeting = ""
        self.heard = queue.Queue()

    # What the host calls.

    def Describe(self, request, context):
        if PROTOCOL not in request.protocols:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the plugin speaks protocol {PROTOCOL}")
        return wire.Description(
            protocol=PROTOCOL,
            name=self.name,
            version=MANIFEST["version"],
            description=MANIFEST["description"],
            author=MANIFEST["author"],
            methods=METHODS,
        )

    def Initialize(self, request, context):
        self.greeting = request.values.values["greeting"].text
        registrations = [
            KIND(kind=KIND.KIND_HOOK, name="pre_request", handler="hook", priority=150),
            KIND(kind=KIND.KIND_MIDDLEWARE, name="sign", handler="sign", routes=["/stock/*"]),
            KIND(kind=KIND.KIND_ROUTE, method="GET", routes=["/stock/hello/:name"], handler="hello"),
            KIND(kind=KIND.KIND_SUBSCRIPTION, name="stock.ping", handler="heard"),
            KIND(kind=KIND.KIND_SERVICE, name="Greeter", handler="greet"),
        ]
        for registration in registrations:
            try:
                self.register(registration)
            except Refused as error:
                return wire.Result(failure=failed(error))
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    return wire.Result(failure=failed(error.details()))
                self.log(f"going on without: {error.details()}")  # an older host
        self.log("Plugin initialized")
        return wire.Result()

    def Start(self, request, context):
        return wire.Result()

    def Stop(self, request, context):
        return wire.Result()

    def Cleanup(self, request, context):
        return wire.Result()

    def OnConfigChange(self, request, context):
        self.greeting = request.values.values["greeting"].text
        return wire.Result()

    def Ping(self, request, context):
        return types.Empty()

    def Handle(self, call, context):
        handler = getattr(self, f"on_{call.handler}", None)
        if handler is None:
            failure = failed(f"no handler '{call.handler}'", types.Failure.CLASS_NOT_FOUND)
            return wire.Reply(id=call.id, failure=failure)
        try:
            reply = handler(call)
        except Exception as error:  # whatever went wrong is this call's failure, and no more
            reply = wire.Reply(failure=failed(error))
        reply.id = call.id
        return reply

    # The handlers, by the name under which they were registered.

    def on_hook(self, call):
        if call.request_hook.path == "/stock/report":
            return wire.Reply(answer=json_answer(self.report(call)))
        stamp = types.ContextValue(key="stamp", value=text(self.name))
        return wire.Reply(change=types.Change(values=[stamp]))

    def on_sign(self, call):
        if call.WhichOneof("call") == "enter":
            return wire.Reply(next=wire.Next(want_leave=True, state=call.enter.path.encode()))
        signed = types.Header(name="x-signed", value=b"python " + call.leave.state)
        return wire.Reply(change=types.Change(set=[signed]))

    def on_heard(self, call):
        self.heard.put(decoded(call.event.data))
        return wire.Reply(change=types.Change())

    def on_greet(self, call):
        if call.invoke.method != "Greet":
            raise ValueError(f"unknown method {call.invoke.method}")
        return wire.Reply(result=text(f"{self.greeting}, {decoded(call.invoke.arguments)}"))

    def on_hello(self, call):
        values = {value.key: decoded(value.value) for value in call.values}
        name = next(parameter.value for parameter in call.route.parameters if parameter.name == "name")
        return wire.Reply(answer=json_answer({"stamp": values["stamp"], "greeting": f"{self.greeting}, {name}"}))

    # What the plugin calls.

    def register(self, registration):
        checked(self.host.Register(registration, timeout=DEADLINE))

    def log(self, message):
        record = wire.Record(kind=wire.Record.KIND_LOG, level="info", name=message)
        count = wire.Record(kind=wire.Record.KIND_COUNTER, name="stock.logged", number=1)
        self.host.Telemetry(iter([record, count]), timeout=DEADLINE)

    def report(self, call):
        methods = {
            "Unregister": self.unregister,
            "GetPluginConfig": lambda: self.host.GetPluginConfig(types.Empty(), timeout=DEADLINE).values.values["greeting"].text,
            "GetConfig": lambda: self.key_value(self.host.GetConfig, operation=KV.OPERATION_GET, key="database.host"),
            "Cache": lambda: self.round_trip(self.host.Cache, ttl_ms=60_000),
            "Storage": lambda: self.round_trip(self.host.Storage),
            "Database": self.database,
            "Publish": self.publish,
            "Import": lambda: self.imported("Nobody"),
            "Invoke": lambda: self.invoke(call),
            "Services": lambda: [s.name for s in self.host.Services(types.Empty(), timeout=DEADLINE)],
            "GetPluginMetrics": self.metrics,
        }
        return {name: attempt(method) for name, method in methods.items()}

    def unregister(self):
        gone = KIND(kind=KIND.KIND_MIDDLEWARE, name="gone", handler="sign", request_only=True)
        self.register(gone)
        checked(self.host.Unregister(gone, timeout=DEADLINE))
        return "ok"

    def key_value(self, method, **request):
        return decoded(checked(method(KV(**request), timeout=DEADLINE)).value)

    def round_trip(self, method, **options):
        checked(method(KV(operation=KV.OPERATION_SET, key="name", value=text("ann"), **options), timeout=DEADLINE))
        found = self.key_value(method, operation=KV.OPERATION_GET, key="name")
        checked(method(KV(operation=KV.OPERATION_DELETE, key="name"), timeout=DEADLINE))
        return found

    def database(self):
        def run(sql, *arguments):
            return wire.Statement(sql=sql, arguments=[types.Value(text=a) for a in arguments], timeout_ms=5_000)

        requests = [
            wire.DatabaseRequest(execute=run("CREATE TABLE IF NOT EXISTS stock_python (name TEXT)")),
            wire.DatabaseRequest(begin=types.Empty()),
            wire.DatabaseRequest(execute=run("DELETE FROM stock_python")),
            wire.DatabaseRequest(execute=run("INSERT INTO stock_python (name) VALUES (?)", "ann")),
            wire.DatabaseRequest(commit=types.Empty()),
            wire.DatabaseRequest(query=run("SELECT name FROM stock_python WHERE name = ?", "ann")),
        ]
        for sequence, request in enumerate(requests, start=1):
            request.sequence = sequence
        rows = []
        for reply in self.host.Database(iter(requests), timeout=DEADLINE):
            if checked(reply).WhichOneof("reply") == "row":
                rows.append([value.text for value in reply.row.values])
        return rows

    def publish(self):
        checked(self.host.Publish(wire.Event(name="stock.ping", data=text("ping")), timeout=DEADLINE))
        return self.heard.get(timeout=DEADLINE)

    def imported(self, service):
        checked(self.host.Import(wire.Invocation(plugin=self.name, service=service), timeout=DEADLINE))

    def invoke(self, call):
        """Its own service, through the host as any other plugin's."""
        self.imported("Greeter")
        invocation = wire.Invocation(plugin=self.name, service="Greeter", method="Greet", arguments=text("ann"))
        on_behalf_of = [("rockstar-call", str(call.id))]
        return decoded(checked(self.host.Invoke(invocation, timeout=DEADLINE, metadata=on_behalf_of)).result)

    def metrics(self):
        answer = self.host.GetPluginMetrics(KV(operation=KV.OPERATION_GET, key=self.name), timeout=DEADLINE)
        return "plugin.load.success" in types.Value.FromString(checked(answer).value).map.values


def attempt(method):
    """What the method gave, or why it could not."""
    try:
        return method()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    except Refused as error:
        return f"refused: {error}"


def main():
    # Relative names, as the host gives them: grpcio puts an absolute one percent-encoded into :authority.
    host = services.PluginContextStub(grpc.insecure_channel(f"unix:{os.environ['ROCKSTAR_HOST_SOCKET']}"))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    services.add_PluginServicer_to_server(Plugin(host), server)
    server.add_insecure_port(f"unix:{os.environ['ROCKSTAR_PLUGIN_SOCKET']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
