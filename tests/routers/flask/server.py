"""A server with Flask. It says which handler the router chose, and the path as a layer in front of it sees it.

Usage: server.py FILES
"""

import logging
import os
import sys
import threading

from flask import Blueprint, Flask, request, send_from_directory
from werkzeug.serving import make_server

app = Flask(__name__)
logging.disable()


def answer(handler):
    # The raw target: what a layer would take, were it to see it as the server did.
    return {"handler": handler, "seen": request.environ["RAW_URI"].split("?")[0]}


def route(rule, handler, to=app):
    to.add_url_rule(rule, rule, lambda **_: answer(handler))


route("/guarded", "guarded")
route("/guarded/", "guarded")
route("/guarded/<path:rest>", "guarded")
route("/one", "one")
route("/deep/er/<name>", "deep")
mounted = Blueprint("mounted", __name__, url_prefix="/mounted")
route("/<path:rest>", "mounted", mounted)
app.register_blueprint(mounted)
route("/grüße/<path:rest>", "greetings")
route("/with space/<path:rest>", "space")
route("/open/<path:rest>", "open")
route("/", "other")
app.add_url_rule("/files/<path:name>", "files", lambda name: send_from_directory(sys.argv[1], name))

server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
server.serve_forever()
