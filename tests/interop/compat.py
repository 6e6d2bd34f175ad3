"""Names that the reference implementation (RI) needs and current Pythons no longer have.

The RI is of 2015: Python 3.4, Tornado 4. It is used as it is installed; `before_import` puts the names back, and
`after_import` mends the one place where the language itself has changed.
"""

import asyncio
import collections
import collections.abc
import html.parser
import inspect
import ssl
import threading
import warnings


def before_import():
    """In the main thread, before anything of the RI is imported."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    for name in ("Callable", "Iterable", "Mapping", "MutableMapping", "Sequence"):
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    if not hasattr(inspect, "getargspec"):
        inspect.getargspec = inspect.getfullargspec
    if not hasattr(threading.Thread, "setDaemon"):
        threading.Thread.setDaemon = lambda self, value: setattr(self, "daemon", value)
    if not hasattr(ssl, "wrap_socket"):
        ssl.wrap_socket = _wrap_socket
    _let_parsers_be_strict()
    _one_loop_for_all_threads()
    _timers_without_loops()


def after_import():
    """Repeated measurements end by a StopIteration inside a generator, which has been an error since Python 3.7."""
    from mplane.model import Specification
    endless = Specification.subspec_iterator

    def subspec_iterator(self):
        try:
            yield from endless(self)
        except RuntimeError as error:
            if not isinstance(error.__cause__, StopIteration):
                raise

    Specification.subspec_iterator = subspec_iterator


def _wrap_socket(plain, keyfile=None, certfile=None, cert_reqs=ssl.CERT_NONE, ca_certs=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = cert_reqs
    context.load_verify_locations(ca_certs)
    context.load_cert_chain(certfile, keyfile)
    return context.wrap_socket(plain)


def _let_parsers_be_strict():
    begin = html.parser.HTMLParser.__init__

    def __init__(self, strict=None, **others):
        begin(self, **others)

    html.parser.HTMLParser.__init__ = __init__


def _one_loop_for_all_threads():
    """The RI adds its ports in the main thread and runs the loop in another."""
    import tornado.httpserver
    import tornado.httputil
    import tornado.ioloop
    import tornado.tcpserver
    tornado.httpserver.HTTPRequest = tornado.httputil.HTTPServerRequest
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = tornado.ioloop.IOLoop.current()
    tornado.ioloop.IOLoop.instance = staticmethod(lambda: loop)
    listen = tornado.tcpserver.TCPServer.listen

    # The RI would listen at every address of the machine.
    def listen_here(self, port, address="127.0.0.1", **others):
        return listen(self, port, address, **others)

    tornado.tcpserver.TCPServer.listen = listen_here


def _timers_without_loops():
    """The RI's branch sdk names the loop of a timer, which is the one of its thread anyway."""
    import tornado.ioloop
    original = tornado.ioloop.PeriodicCallback.__init__

    def __init__(self, callback, callback_time, *rest, **others):
        rest = [it for it in rest if not isinstance(it, tornado.ioloop.IOLoop)]
        original(self, callback, callback_time, *rest, **others)

    tornado.ioloop.PeriodicCallback.__init__ = __init__
