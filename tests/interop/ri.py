"""Parts of the reference implementation (RI) of mPlane, for the tests of `tests/tests/interop`.

    ri.py supervisor|component|client|listener FILE     FILE is a configuration of the RI itself (INI)
    ri.py tokens FILE                          FILE names the registry in [client]

Requests and answers are JSON, one a line, on standard input and output; what the RI prints goes to standard error.
A listener is a client to whom components come. The first line says {"ready": true}. `supervisor` and `component` take no requests; a supervisor says {"came": KIND} of
every message of a component that it has handled. A program ends with its standard input, so none outlives the test
that started it, and after LIMIT_S in any case.

Requests to a client, with their answers:

    {"do": "capabilities", "labels": [...]}  looks until all of these are there; every capability
    {"do": "crawl"}                          looks once; every capability that this client still lists
    {"do": "invoke", "label", "when", "parameters", "relabel"}    the token of the specification
    {"do": "redeem", "token", "least"}       asks until there is a final answer, an envelope of so many at least; it
    {"do": "interrupt", "token"}             what is known of that specification afterwards
    {"do": "post", "message"}                the answer to this very message

Requests to `tokens` are messages without a token; the answer is the token that the RI computes.
What went wrong is answered by {"error": TEXT}.
"""

import configparser
import json
import os
import sys
import threading
import time

import compat

LIMIT_S = 120
"""Longer than any test takes."""
PATIENCE_S = 60
"""For capabilities to appear, and results beyond their temporal scope."""
LOOK_S = 0.25
"""Between two looks, where the protocol has nothing but asking again."""

answers = sys.stdout
sys.stdout = sys.stderr


def say(answer):
    print(json.dumps(answer), file=answers, flush=True)


def end(code):
    """The RI leaves threads behind that would go on."""
    sys.stderr.flush()
    os._exit(code)


def end_after(seconds):
    def ended():
        print("ri.py: time limit of %d s" % seconds, file=sys.stderr)
        end(124)

    timer = threading.Timer(seconds, ended)
    timer.daemon = True
    timer.start()


def end_with_input():
    def wait():
        sys.stdin.read()
        end(0)

    threading.Thread(target=wait, daemon=True).start()


def read_config(file):
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str
    with open(file) as text:
        config.read_file(text)
    return config


def load(section):
    """The RI, with the registry of this section."""
    compat.before_import()
    import mplane.model
    import mplane.scheduler  # used by others that do not import it
    compat.after_import()
    mplane.model.preload_registry(section["registry_preload"])
    mplane.model.initialize_registry(section["registry_uri"])
    return mplane


def run_supervisor(config):
    load(config["component"])
    import mplane.supervisor

    class Supervisor(mplane.supervisor.BaseSupervisor):
        def run(self):
            # Both ports listen: their backlogs hold who comes before the loop runs.
            say({"ready": True})
            super().run()

        def handle_message(self, message, identity):
            super().handle_message(message, identity)
            say({"came": type(message).__name__.lower()})

    end_with_input()
    Supervisor(config)


def run_component(config):
    mplane = load(config["component"])
    import mplane.component
    end_with_input()
    if config["component"]["workflow"] == "component-initiated":
        mplane.component.InitiatorHttpComponent(config)
        say({"ready": True})
        threading.Event().wait()
    loop = mplane.component.tornado.ioloop.IOLoop.instance()
    loop.add_callback(say, {"ready": True})
    mplane.component.ListenerHttpComponent(config)


class Client:
    """The RI's client, driven by requests."""

    def __init__(self, config):
        mplane = load(config["client"])
        import mplane.client
        import mplane.tls
        self.mplane = mplane
        self.url = config["client"]["default-url"]
        self.tls = mplane.tls.TlsState(config)
        self.forget()

    def forget(self):
        self.client = self.mplane.client.HttpInitiatorClient(config=None, tls_state=self.tls)

    def json(self, message):
        return json.loads(self.mplane.model.unparse_json(message))

    def crawl(self, _):
        known = self.client
        self.forget()
        self.client.retrieve_capabilities(self.url)
        # What was asked for stays known; capabilities are those that are listed now.
        for name in ("_receipts", "_receipt_labels", "_receipt_identities", "_results", "_result_labels", "_ssn"):
            setattr(self.client, name, getattr(known, name))
        return [self.described(token) for token in sorted(self.client.capability_tokens())]

    def described(self, token):
        capability = self.client.capability_for(token)
        return dict(self.json(capability), token=token)

    def capabilities(self, request):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                listed = self.crawl(request)
            except Exception as error:
                listed, seen = [], repr(error)
            else:
                seen = sorted(capability["label"] for capability in listed)
                if set(request["labels"]) <= set(seen):
                    return listed
            if time.monotonic() > deadline:
                raise TimeoutError("%s are not listed: %s" % (request["labels"], seen))
            time.sleep(LOOK_S)

    def invoke(self, request):
        specification = self.client.invoke_capability(
            request["label"], request["when"], request["parameters"], request.get("relabel"))
        return specification.get_token()

    def redeem(self, request):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.client.result_for(request["token"])
            if isinstance(answer, self.mplane.model.Envelope):
                if len(answer) >= request.get("least", 1):
                    return self.json(answer)
            elif not isinstance(answer, self.mplane.model.Receipt):
                return self.json(answer)
            if time.monotonic() > deadline:
                raise TimeoutError("no end of " + request["token"])
            time.sleep(LOOK_S)

    def interrupt(self, request):
        self.client.interrupt_capability(request["token"])
        known = super(type(self.client), self.client).result_for(request["token"])
        return self.json(known)

    def post(self, request):
        url = self.mplane.client.urllib3.util.parse_url(self.url)
        pool = self.tls.pool_for(url.scheme, url.host, url.port)
        answer = pool.urlopen("POST", url.path, body=json.dumps(request["message"]).encode("utf-8"),
                              headers={"Content-Type": "application/x-mplane+json"})
        return {"status": answer.status, "type": answer.getheader("Content-Type"),
                "body": json.loads(answer.data.decode("utf-8"))}

    def answer(self, request):
        actions = {"capabilities": self.capabilities, "crawl": self.crawl, "invoke": self.invoke,
                   "redeem": self.redeem, "interrupt": self.interrupt, "post": self.post}
        return actions[request["do"]](request)


class Listener(Client):
    """The RI's client to whom components come: capabilities, receipts and results are brought."""

    def __init__(self, config):
        mplane = load(config["client"])
        import mplane.client
        import mplane.tls
        self.mplane = mplane
        self.client = mplane.client.HttpListenerClient(config, tls_state=mplane.tls.TlsState(config))

    def crawl(self, _):
        return [self.described(token) for token in sorted(self.client.capability_tokens())]

    def redeem(self, request):
        self.wait_for(request["token"])
        return super().redeem(request)

    def interrupt(self, request):
        self.wait_for(request["token"])
        return super().interrupt(request)

    def wait_for(self, token):
        """Until the component has fetched the specification and brought a receipt, or more."""
        deadline = time.monotonic() + PATIENCE_S
        while token not in self.client._receipts and token not in self.client._results:
            if time.monotonic() > deadline:
                raise TimeoutError("nothing came of " + token)
            time.sleep(LOOK_S)


class Tokens:
    """Tokens as the RI computes them."""

    def __init__(self, config):
        self.mplane = load(config["client"])

        # The RI prints sets in an order that differs from process to process, and so the token of a capability that
        # holds one of texts is the sender's. Here they are printed as they were written.
        class InOrder(self.mplane.model._SetConstraint):
            def __init__(self, prim, sval):
                super().__init__(prim, vs=dict.fromkeys(map(prim.parse, sval.split(","))))

        self.mplane.model._SetConstraint = InOrder

    def answer(self, message):
        assert "token" not in message, "a token that is there would be taken as it is"
        return self.mplane.model.parse_json(json.dumps(message)).get_token()


def serve(one):
    say({"ready": True})
    for line in sys.stdin:
        try:
            say({"answer": one.answer(json.loads(line))})
        except Exception as error:
            say({"error": "%s: %s" % (type(error).__name__, error)})


def main(role, file):
    end_after(LIMIT_S)
    config = read_config(file)
    if role == "supervisor":
        run_supervisor(config)
    elif role == "component":
        run_component(config)
    elif role == "client":
        serve(Client(config))
    elif role == "listener":
        serve(Listener(config))
    elif role == "tokens":
        serve(Tokens(config))
    else:
        sys.exit("ri.py: no role " + role)
    end(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
